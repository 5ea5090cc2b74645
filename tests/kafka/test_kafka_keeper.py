"""What the keeper of a Kafka deployment does by the time outside, and that one keeper does it at a time."""

from __future__ import annotations

from typing import Any

import pytest
from deployed import Deployment, running, wait_until
from pydantic import SecretStr
from sqlalchemy import Engine, insert, select, text, update

from alerts import tables
from alerts.store import transaction
from pipeline.clock import now_us
from pipeline.instants import DAY_US, to_datetime
from pipeline.kafka import dispatch, ingest
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.keeper import KafkaKeeper
from pipeline.settings import Settings

CLOCK = "logs/push/0"


class Setting:
    def __init__(self, deployment: Deployment, engine: Engine) -> None:
        self.deployment = deployment
        self.engine = engine

    def keeper(self) -> KafkaKeeper:
        return KafkaKeeper(
            self.deployment.context("dispatch"), self.engine, Cluster(self.deployment.settings, call_s=3.0)
        )

    def dead_letter(self, position: int, **changes: Any) -> None:
        row = {
            "run": "live",
            "stream": "logs",
            "partition": CLOCK,
            "position": position,
            "received_at": to_datetime(now_us()),
            "form": "json",
            "reason": "broken",
            "payload": b'{"text": "it works now", "time": "2024-05-06T00:00:00Z"}',
            "retry_requested_at": to_datetime(now_us()),
        }
        with transaction(self.engine) as connection:
            connection.execute(insert(tables.dead_letters).values(row | changes))

    def alarms(self) -> dict[str, str]:
        with transaction(self.engine) as connection:
            rows = connection.execute(select(tables.alerts.c.group, tables.alerts.c.state))
            return {row.group: row.state for row in rows}


@pytest.fixture
def setting(kafka_settings: Settings, database_url: str, engine: Engine) -> Setting:
    settings = kafka_settings.model_copy(update={"database_url": SecretStr(database_url)})
    return Setting(Deployment(settings), engine)


def test_dead_letters_that_someone_asked_to_retry_are_items_again(setting: Setting) -> None:
    setting.dead_letter(1, item_id="its own", source="web")
    setting.dead_letter(2)
    setting.dead_letter(3, form="broken", reason="the line does not end")
    setting.dead_letter(4, retry_requested_at=None)
    setting.dead_letter(5, partition="logs/gone/0")  # waits until its source is configured
    keeper = setting.keeper()
    keeper.look()
    keeper.look()
    records = setting.deployment.raw(CLOCK)
    assert [record.ids and record.ids[0].split("-")[0] for record in records] == ["its own", "retry", "retry"]
    assert [record.note for record in records] == ["", "", "the line does not end"]
    assert records[0].source == "web"
    with transaction(setting.engine) as connection:
        d = tables.dead_letters.c
        assert connection.scalars(select(d.position).where(d.retried_at.is_not(None))).all() == [1, 2, 3]


def test_a_retry_that_a_crash_repeats_is_taken_in_once(setting: Setting) -> None:
    setting.deployment.apply()
    setting.dead_letter(1)
    setting.keeper().look()
    with transaction(setting.engine) as connection:
        connection.execute(update(tables.dead_letters).values(retried_at=None))
    setting.keeper().look()
    with running(ingest.run, setting.deployment.context("ingest")):
        wait_until(lambda: sum(one.duplicates for one in slices(setting)) == 1, "the second one")
    assert sum(len(one.signals) for one in slices(setting)) == 1


def slices(setting: Setting) -> list[Any]:
    return setting.deployment.slices(setting.deployment.names.signals)


def test_a_clock_that_stands_still_raises_an_alarm_until_it_moves(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed_s = 0.0
    monkeypatch.setattr("pipeline.kafka.keeper.time.monotonic", lambda: elapsed_s)
    setting.deployment.apply(LIVE)
    keeper = setting.keeper()
    keeper.look()
    assert setting.alarms() == {}
    elapsed_s = 61.0
    keeper.look()
    assert setting.alarms() == {f"system:clock_stalled:{CLOCK}": "open"}
    setting.deployment.send_items(CLOCK, [{"text": "here I am"}])
    monkeypatch.undo()
    with running(ingest.run, setting.deployment.context("ingest")):
        signals = setting.deployment.names.raw("logs", "push")
        wait_until(lambda: setting.deployment.covered("ingest", signals, 0) > 0, "the item")
    keeper.look()
    assert setting.alarms() == {f"system:clock_stalled:{CLOCK}": "resolved"}


LIVE = """
[streams.logs]
kind = "logs"
tick = "1m"
stall_after = "1m"
[[streams.logs.sources]]
name = "push"
kind = "push"
"""


def test_what_is_older_than_retention_is_removed(setting: Setting) -> None:
    setting.dead_letter(1, received_at=to_datetime(now_us() - 31 * DAY_US), retry_requested_at=None)
    setting.dead_letter(2, retry_requested_at=None)
    keeper = setting.keeper()
    keeper._prune()
    with transaction(setting.engine) as connection:
        assert connection.scalars(select(tables.dead_letters.c.position)).all() == [2]


def test_of_several_keepers_one_acts_and_another_takes_over_when_it_ends(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.kafka.keeper._LOOK_EVERY_S", 0.05)
    first, second = setting.keeper(), setting.keeper()
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )

    def holders() -> int:
        with transaction(setting.engine) as connection:
            return connection.scalar(text(held)) or 0

    first.start()
    wait_until(lambda: first._lock.held(), "the first to act")
    second.start()
    try:
        setting.dead_letter(1)
        wait_until(lambda: len(setting.deployment.raw(CLOCK)) == 1, "the retry")
        assert not second._lock.held()
        assert holders() == 1
        first.stop(10)
        wait_until(lambda: second._lock.held(), "the second to act")
        setting.dead_letter(2)
        wait_until(lambda: len(setting.deployment.raw(CLOCK)) == 2, "the second retry")
    finally:
        first.stop(10)
        second.stop(10)
    assert holders() == 0


def test_dispatch_retries_dead_letters_by_itself(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kafka.keeper._LOOK_EVERY_S", 0.05)
    setting.dead_letter(1)
    with running(dispatch.run, setting.deployment.context("dispatch")):
        wait_until(lambda: len(setting.deployment.raw(CLOCK)) == 1, "the retry")
