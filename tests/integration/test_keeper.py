"""What the keeper does by the time outside: retention, dead letters that are retried, alarms of sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from alerts import tables
from alerts.retention import Retention
from alerts.store import transaction
from pipeline.clock import now_us
from pipeline.instants import DAY_US, MINUTE_US, to_datetime
from pipeline.journal.score_log import ScoreLog
from pipeline.records import ScoreSlice, Signal, SignalSlice
from pipeline.runtime.checkpoint import Position
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.partitions import Partitions
from pipeline.streams import Definition, SourceDefinition

P = "s/push"


class Setting:
    """A keeper of one stream; `position` and `stored` are what the worker would say."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        definition = Definition(
            name="s",
            kind="logs",
            tick_us=MINUTE_US,
            clock="data",
            clocks=(P,),
            sources=(SourceDefinition(name="push", kind="push"),),
            remember_ids=2,
        )
        self.engine = engine
        self.partitions = Partitions(folder / "journal", {"s": definition}, now_us=DAY_US)
        self.failing: set[str] = set()
        self.scores = folder / "scores"
        self.position = self.stored = 0
        self.keeper = Keeper(
            {"s": definition},
            self.partitions,
            SimpleNamespace(failing=lambda: self.failing),  # type: ignore[arg-type]
            SimpleNamespace(),  # type: ignore[arg-type]
            engine,
            run="live",
            scores=self.scores,
            positions=lambda: {P: Position(stream="s", partition=P, position=self.position)},
            stored=lambda: {P: self.stored},
            kept=Retention(raw_us=30 * DAY_US, history_us=365 * DAY_US),
            wake_deliveries=lambda: None,
        )

    def dead_letter(self, partition: str, position: int, **changes: Any) -> None:
        row = {
            "run": "live",
            "stream": "s",
            "partition": partition,
            "position": position,
            "received_at": to_datetime(now_us()),
            "form": "json",
            "reason": "broken",
            "payload": b"payload",
            "retry_requested_at": to_datetime(now_us()),
        }
        with transaction(self.engine) as connection:
            connection.execute(insert(tables.dead_letters).values(row | changes))

    def alarms(self) -> list[tuple[str, str]]:
        with transaction(self.engine) as connection:
            rows = connection.execute(select(tables.alerts.c.group, tables.alerts.c.state))
            return [(row.group, row.state) for row in rows]


@pytest.fixture
def setting(tmp_path: Path, engine: Engine) -> Iterator[Setting]:
    made = Setting(tmp_path, engine)
    yield made
    made.partitions.close()


def test_retention_removes_nothing_that_a_restart_from_the_stored_checkpoint_needs(setting: Setting) -> None:
    journal = setting.partitions[P]
    scores = ScoreLog(setting.scores / P, segment_bytes=1)
    scores.rewind("")
    for day in range(2, 8):  # a segment a day
        journal.append(payloads=[b"{}"], form="json", source="push", received_us=day * DAY_US)
        signal = Signal(day - 1, f"i{day}", 0, 0, False, "text", "web")
        slice = SignalSlice("s", "d", P, day - 1, day, False, 0, [0], [signal], 0, [])
        scores.append(ScoreSlice(slice, "m", [0.5], ["other"]))
    scores.sync()
    scores.close()
    for segment in scores.segments():
        os.utime(segment, (1000, 1000))
    setting.position, setting.stored = journal.end, 5
    setting.keeper._prune()
    assert journal.start == 5
    assert [one.slice.start for one in scores.read()] == [2, 3, 4, 5, 6]  # two remembered ids before position 5
    setting.stored = setting.position
    setting.keeper._prune()
    assert journal.start == journal.end


def test_a_retry_is_not_kept_waiting_by_those_of_a_source_that_is_not_configured(setting: Setting) -> None:
    with transaction(setting.engine) as connection:
        connection.execute(
            insert(tables.dead_letters),
            [
                {
                    "run": "live",
                    "stream": "s",
                    "partition": "s/gone",
                    "position": n,
                    "received_at": to_datetime(now_us()),
                    "form": "json",
                    "reason": "broken",
                    "payload": b"x",
                    "retry_requested_at": to_datetime(now_us()),
                }
                for n in range(1000)
            ],
        )
    setting.dead_letter(P, 1)
    setting.keeper._retry_dead_letters()
    assert [record.payloads for record in setting.partitions[P].read(1, 10)] == [[b"payload"]]
    with transaction(setting.engine) as connection:
        retried = select(tables.dead_letters.c.partition).where(tables.dead_letters.c.retried_at.is_not(None))
        assert connection.execute(retried).scalars().all() == [P]


def test_the_retry_of_what_could_not_be_framed_keeps_its_reason(setting: Setting) -> None:
    setting.dead_letter(P, 1, form="broken", reason="the line does not end")
    setting.dead_letter(P, 2, form="json", reason="it has no time")
    setting.keeper._retry_dead_letters()
    assert [record.note for record in setting.partitions[P].read(1, 10)] == ["the line does not end", ""]


def test_a_source_that_is_down_raises_an_alarm_until_it_works(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed_s = 0.0
    monkeypatch.setattr("pipeline.runtime.keeper.time.monotonic", lambda: elapsed_s)

    def look() -> None:
        setting.keeper._look_for_outages()
        setting.keeper._alarms.store()

    setting.failing = {P}
    look()
    assert setting.alarms() == []
    elapsed_s = 61.0
    look()
    assert setting.alarms() == [(f"system:source_down:{P}", "open")]
    setting.failing = set()
    look()
    assert setting.alarms() == [(f"system:source_down:{P}", "resolved")]


def test_what_ended_long_ago_is_removed_and_what_is_under_way_stays(setting: Setting) -> None:
    now = now_us()
    long_ago, lately = to_datetime(now - 366 * DAY_US), to_datetime(now - 364 * DAY_US)
    cases = {
        "old": (long_ago, "resolved", "delivered"),
        "lately": (lately, "resolved", "delivered"),
        "open": (long_ago, "open", "exhausted"),
        "pending": (long_ago, "resolved", "pending"),
        "untold": (long_ago, "resolved", None),
    }
    with transaction(setting.engine) as connection:
        for id, (at, state, delivery) in cases.items():
            connection.execute(
                insert(tables.alerts).values(
                    id=id,
                    kind="surge",
                    run="live",
                    stream="s",
                    group="g",
                    state=state,
                    severity="info",
                    opened_at=long_ago,
                    tick_end_at=at,
                    sequence=1,
                    latest={},
                    created_at=at,
                    updated_at=at,
                )
            )
            connection.execute(
                insert(tables.transitions).values(
                    alert_id=id, sequence=1, stream="s", state="opened", body={}, encoded=b""
                )
            )
            if delivery:
                connection.execute(
                    insert(tables.deliveries).values(
                        id=id,
                        subscription_id="x",
                        alert_id=id,
                        sequence=1,
                        payload=b"",
                        state=delivery,
                        created_at=at,
                        due_at=at,
                    )
                )
                connection.execute(
                    insert(tables.attempts).values(delivery_id=id, number=1, at=at, duration_ms=1, response=b"")
                )
    setting.keeper._prune()

    def left(column: Any) -> set[str]:
        with transaction(setting.engine) as connection:
            return set(connection.execute(select(column)).scalars())

    assert left(tables.deliveries.c.id) == left(tables.attempts.c.delivery_id) == {"lately", "pending"}
    assert left(tables.alerts.c.id) == left(tables.transitions.c.alert_id) == {"lately", "pending", "open"}
    with transaction(setting.engine) as connection:  # it was made at last
        connection.execute(update(tables.deliveries).values(state="delivered", delivered_at=to_datetime(now)))
    setting.keeper._prune()
    assert left(tables.deliveries.c.id) == {"lately", "pending"}
