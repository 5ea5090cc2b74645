"""Checkpoints: everything in one transaction, and a restart goes on exactly there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, func, select

from alerts import tables
from alerts.store import transaction
from pipeline.detect.digest import digest
from pipeline.errors import StateMismatch, StoreUnavailable
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, SECOND_US, to_iso
from pipeline.records import DeadLetter, RawRecord, Transition, decode
from pipeline.runtime.checkpoint import Checkpoint, CheckpointStore, Position
from pipeline.runtime.pipeline import Pipeline, fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn

NOW_US = 20_000 * DAY_US
P = "logs/push"


def definition(name: str = "logs", **changes: object) -> Definition:
    made: dict[str, object] = {
        "name": name,
        "kind": "logs",
        "tick_us": MINUTE_US,
        "clock": "data",
        "group": ("source",),
        "clocks": (f"{name}/push",),
    }
    return Definition(**(made | changes))  # type: ignore[arg-type]


def pipeline_of(engine: Engine, folder: Path, *definitions: Definition, buckets: int = 1) -> Pipeline:
    made = Pipeline(
        {d.name: d for d in definitions},
        run="live",
        buckets=buckets,
        scorer=Scorer(NullEngine(), cache_entries=100, batch_tokens=1000),
        store=CheckpointStore(engine, "live"),
        scores=folder,
        checkpoint_s=0.01,
    )
    for d in definitions:
        made.open(d.name, f"{d.name}/push", Turn(1, d))
    return made


def texts() -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    scores = {word: engine.score(engine.encode([word], "logs"))[0].probability for word in words}
    return max(words, key=lambda w: scores[w]), min(words, key=lambda w: scores[w])


def history() -> list[RawRecord]:
    """An hour of lines with a burst from minute 40 on, in one record a minute; some broken."""
    bad, good = texts()
    records = []
    position = 0
    for minute in range(60):
        burst = 40 <= minute < 45
        payloads = [
            json.dumps(
                {
                    "id": f"{minute}/{i}",
                    "time": to_iso(NOW_US + minute * MINUTE_US + i * SECOND_US),
                    "text": bad if burst or (minute + i) % 9 == 0 else good,
                    "source": "web",
                }
            ).encode()
            for i in range(40 if burst else 5)
        ]
        payloads.append(b"{broken a@b.co")
        records.append(RawRecord(position, NOW_US + 2 * DAY_US, payloads=payloads))
        position += len(payloads)
    return [*records, RawRecord(position, NOW_US + 2 * DAY_US, kind="leave")]


def stored(engine: Engine) -> dict[str, Any]:
    with transaction(engine) as connection:
        rows = connection.execute(select(tables.transitions.c.encoded)).all()
        return {
            "digest": digest([decode(bytes(row.encoded), Transition) for row in rows]),
            "transitions": len(rows),
            "dead": connection.scalar(select(func.count()).select_from(tables.dead_letters)),
            "counts": connection.execute(select(tables.positions)).all(),
            "states": connection.execute(select(tables.fold_states).order_by(tables.fold_states.c.name)).all(),
        }


def test_a_checkpoint_that_is_saved_twice_is_saved_once(engine: Engine, surge: Callable[..., Transition]) -> None:
    store = CheckpointStore(engine, "live")
    checkpoint = Checkpoint(
        positions=[Position(stream="logs", partition=P, position=7, watermark_us=5, score_mark="1.scores:9")],
        states={"ingest/logs/logs/push": b"\x00state"},
        dead=[("logs", P, DeadLetter(3, NOW_US, "json", "push", b"\xff\x00{", "broken \x00", "k:0"))],
        transitions=[surge()],
    )
    store.save(checkpoint, NOW_US)
    once = stored(engine)
    store.save(checkpoint, NOW_US)
    CheckpointStore(engine, "live").save(checkpoint, NOW_US)
    assert stored(engine) == once
    assert (once["transitions"], once["dead"]) == (1, 1)
    positions, states = CheckpointStore(engine, "live").load()
    assert positions == {P: checkpoint.positions[0]}
    assert states == checkpoint.states


def test_a_checkpoint_is_stored_whole_or_not_at_all(engine: Engine, surge: Callable[..., Transition]) -> None:
    store = CheckpointStore(engine, "live")
    broken = surge(state="invented")
    checkpoint = Checkpoint(
        positions=[Position(stream="logs", partition=P, position=7)],
        states={"judge/logs/v": b"state"},
        dead=[("logs", P, DeadLetter(3, NOW_US, "json", "push", b"", "broken"))],
        transitions=[msgspec.structs.replace(broken, severity="invented")],
    )
    with pytest.raises(Exception, match="severity"):
        store.save(checkpoint, NOW_US)
    assert store.load() == ({}, {})
    assert stored(engine)["dead"] == 0


def test_the_runs_of_two_deployments_do_not_mix(engine: Engine) -> None:
    CheckpointStore(engine, "a").save(
        Checkpoint(
            positions=[Position(stream="s", partition=P, position=1)], states={"x/s/": b"1"}, dead=[], transitions=[]
        ),
        NOW_US,
    )
    assert CheckpointStore(engine, "b").load() == ({}, {})


def test_only_states_that_changed_are_written(engine: Engine) -> None:
    store = CheckpointStore(engine, "live")
    written: list[list[str]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "INTO fold_states" in statement:
            rows = context.compiled_parameters
            written.append(sorted(value for row in rows for key, value in row.items() if key.startswith("name")))

    def save(**states: bytes) -> None:
        store.save(Checkpoint(positions=[], states=states, dead=[], transitions=[]), NOW_US)

    save(a=b"1", b=b"1")
    save(a=b"1", b=b"2")
    save(a=b"1", b=b"2")
    assert written == [["a", "b"], ["b"]]
    store = CheckpointStore(engine, "live")
    assert store.load()[1] == {"a": b"1", "b": b"2"}
    save(a=b"1", b=b"2")
    assert len(written) == 2
    save(b=b"2")
    assert store.load()[1] == {"b": b"2"}


def test_a_store_that_is_away_is_said_so_and_the_checkpoint_is_kept(engine: Engine, tmp_path: Path) -> None:
    one = pipeline_of(engine, tmp_path, definition())
    one.fold(P, history()[:3])

    @event.listens_for(engine, "before_cursor_execute")
    def _fail(*_: Any) -> None:
        raise StoreUnavailable

    assert not one.checkpoint(stop=lambda: True)
    event.remove(engine, "before_cursor_execute", _fail)
    assert one.checkpoint()
    assert stored(engine)["counts"][0].counted == 15
    one.close()


@pytest.mark.parametrize("every", [1, 7])
def test_a_crash_between_recording_scores_and_the_checkpoint_repeats_nothing(
    engine: Engine, tmp_path: Path, every: int
) -> None:
    """Die after each `every` records, each time with scores on disk that no checkpoint knows of."""
    records = history()
    straight = pipeline_of(engine, tmp_path / "straight", definition())
    transitions = [t for record in records for t in straight.fold(P, [record])]
    straight.close()
    assert {t.state for t in transitions} >= {"opened", "resolved"}
    position = 0
    while position < records[-1].end:
        one = pipeline_of(engine, tmp_path / "live", definition())
        position = one.position(P).position
        ahead = [r for r in records if r.position >= position]
        for record in ahead[:every]:
            one.fold(P, [record])
        one.checkpoint()
        for record in ahead[every : every + 3]:  # lost with the process
            one.fold(P, [record])
        one.scores(P).sync()
        position = one.position(P).position if len(ahead) <= every else position
        one.close()
    last = pipeline_of(engine, tmp_path / "live", definition())
    scored = [s.position for one in last.scores(P).read() for s in one.slice.signals]
    assert scored == sorted(set(scored))
    counts = last.position(P).counts
    last.close()
    found = stored(engine)
    assert found["digest"] == digest(transitions)
    assert found["dead"] == 60 == counts.dead
    assert counts.items == records[-1].position == counts.counted + counts.dead
    assert len(scored) == counts.counted


def test_a_stream_that_is_not_configured_for_one_start_goes_on_when_it_is_back(engine: Engine, tmp_path: Path) -> None:
    records = history()
    logs, news = definition(), definition("news")
    one = pipeline_of(engine, tmp_path, logs, news)
    one.fold(P, records[:30])
    one.checkpoint()
    one.close()
    without = pipeline_of(engine, tmp_path, news)
    without.fold("news/push", records[:30])
    without.checkpoint()
    without.close()
    back = pipeline_of(engine, tmp_path, logs, news)
    assert back.position(P).position == records[29].end
    assert back.position(P).counts.counted == 150
    back.fold(P, records[30:])
    back.checkpoint()
    back.close()
    whole = StreamFlow(logs, run="live", buckets=1)
    expected = fold_records(whole, Scorer(NullEngine(), cache_entries=100, batch_tokens=1000), P, records)[1]
    found = stored(engine)
    counts = {row.partition: (row.counted, row.dead) for row in found["counts"]}
    assert counts[P] == (whole.open(P).counts.counted, whole.open(P).counts.dead)
    assert expected
    assert found["digest"] == digest(expected)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (3, 1)])
def test_another_number_of_buckets_is_refused_with_what_to_do(
    engine: Engine, tmp_path: Path, first: int, then: int
) -> None:
    one = pipeline_of(engine, tmp_path, definition(), buckets=first)
    one.fold(P, history()[:3])
    one.checkpoint()
    one.close()
    with pytest.raises(StateMismatch, match=f"set TOCSIN_BUCKETS={first}, or replay into a new data folder"):
        pipeline_of(engine, tmp_path, definition(), buckets=then)


def test_a_recorded_replay_beside_up_compares_what_was_stored_at_one_instant(
    engine: Engine, tmp_path: Path, surge: Callable[..., Transition], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.cli.database
    import pipeline.runtime.recorded
    from pipeline.cli.database import Database
    from pipeline.cli.recorded import replay_recorded_streams
    from pipeline.settings import load as load_settings

    first = Checkpoint(positions=[Position(stream="news", partition=P)], states={}, dead=[], transitions=[])
    CheckpointStore(engine, "live").save(first, NOW_US)
    load = CheckpointStore.load

    def loads_while_up_stores(store: CheckpointStore, *rest: Any) -> Any:
        found = load(store, *rest)
        CheckpointStore(engine, "live").save(dataclasses.replace(first, transitions=[surge()]), NOW_US)
        return found

    monkeypatch.setattr(CheckpointStore, "load", loads_while_up_stores)
    monkeypatch.setattr(pipeline.runtime.recorded, "replay_recorded", lambda *_, **__: [])
    settings = load_settings(tmp_path / "tocsin.toml", data=tmp_path)
    opened = nullcontext(Database(settings, engine, None))  # type: ignore[arg-type]
    monkeypatch.setattr(pipeline.cli.database, "database", lambda: opened)
    replay_recorded_streams("news", json=False)  # no surge until then: equal, or it raises
