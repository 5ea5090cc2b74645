"""One contract for every runtime: the same raw log gives the same surges, bit for bit, and the same counts.

Runtimes: the local one, with a restart in the middle, and the workers of Kafka's on a real broker. The raw log is the
broker's: its offsets have holes, its received times are the broker's own. What must come out is what the folds make of
that log in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployed import Deployment, wait_until
from sqlalchemy import Engine

from alerts.keyring import new_key
from alerts.routing import LIVE_RUN
from pipeline.bench.compare import stored
from pipeline.bench.feed import STREAM, STREAMS, Feed
from pipeline.bench.fleet import Fleet
from pipeline.bench.oracle import Count
from pipeline.detect.digest import digest
from pipeline.flow import StreamFlow
from pipeline.instants import MINUTE_US
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.readback import read_back
from pipeline.records import RawRecord, Transition
from pipeline.runtime.checkpoint import CheckpointStore
from pipeline.runtime.pipeline import Pipeline, fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.settings import Settings

Fates = dict[str, int]
Runtime = Callable[[Deployment], tuple[list[Transition], Fates]]
FATES = ("counted", "late", "duplicates", "dead")


def scorer() -> Scorer:
    return Scorer(NullEngine(), cache_entries=1000, batch_tokens=16_384)


@pytest.fixture
def deployment(kafka_settings: Settings, database_url: str, tmp_path: Path) -> Deployment:
    """A raw log of some thousand items with bursts, late ones, duplicates, and broken ones."""
    changes = {
        "kafka_raw_partitions": 3,
        "database_url": database_url,
        "secret_key": new_key(),
        "engine": "null",
        "slice_items": 200,
        "checkpoint_s": 0.2,
    }
    settings = Settings(**{**kafka_settings.model_dump(), **changes})  # type: ignore[arg-type]
    made = Deployment(settings, STREAMS)
    made.apply()
    return made


def fed(deployment: Deployment, *, seed: int, most: int = 5000) -> None:
    feed = Feed(deployment.settings, seed=seed, rate=1e6, most=most)
    feed.run()
    assert feed.error is None


def raw_log(deployment: Deployment) -> dict[str, list[RawRecord]]:
    return {clock: deployment.raw(clock) for clock in deployment.names.clocks(deployment.file.streams[STREAM])}


def in_one_go(deployment: Deployment) -> list[Transition]:
    """What the folds make of the raw log, each partition as a whole."""
    turn = deployment.registry.turn(STREAM, 1)
    flow = StreamFlow(turn.definition, run=LIVE_RUN, buckets=1)
    transitions = []
    for clock, records in raw_log(deployment).items():
        flow.open(clock, turn)
        transitions += fold_records(flow, scorer(), clock, records)[1]
    return transitions


@pytest.fixture
def local(engine: Engine, tmp_path: Path) -> Runtime:
    """The local runtime, stopped and started again half-way."""

    def run(deployment: Deployment) -> tuple[list[Transition], Fates]:
        turn = deployment.registry.turn(STREAM, 1)
        logs = raw_log(deployment)

        def pipeline() -> Pipeline:
            made = Pipeline(
                {STREAM: turn.definition},
                run=LIVE_RUN,
                buckets=2,
                scorer=scorer(),
                store=CheckpointStore(engine, LIVE_RUN, deliver=False),
                scores=tmp_path / "scores",
                checkpoint_s=1.0,
            )
            for clock in logs:
                made.open(STREAM, clock, turn)
            return made

        for half in (0, 1):
            running = pipeline()
            for clock, records in logs.items():
                middle = len(records) // 2
                for record in records[middle:] if half else records[:middle]:
                    running.fold(clock, [record])
            running.checkpoint()
            counts = [running.position(clock).counts for clock in logs]
            running.close()
        return stored(engine), {name: sum(getattr(c, name) for c in counts) for name in FATES}

    return run


@pytest.fixture
def kafka_workers(engine: Engine, tmp_path: Path) -> Iterator[Runtime]:
    """One worker of each kind, as processes."""
    logs = tmp_path / "logs"
    logs.mkdir()
    fleet = Fleet(logs, {})

    def run(deployment: Deployment) -> tuple[list[Transition], Fates]:
        (tmp_path / "streams.toml").write_text(STREAMS)
        settings = deployment.settings
        assert settings.database_url is not None
        assert settings.secret_key is not None
        fleet.environment = {
            "TOCSIN_KAFKA": str(settings.kafka),
            "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
            "TOCSIN_KAFKA_RAW_PARTITIONS": str(settings.kafka_raw_partitions),
            "TOCSIN_KAFKA_SIGNAL_PARTITIONS": str(settings.kafka_signal_partitions),
            "TOCSIN_BUCKETS": str(settings.buckets),
            "TOCSIN_DATABASE_URL": settings.database_url.get_secret_value(),
            "TOCSIN_SECRET_KEY": settings.secret_key.get_secret_value(),
            "TOCSIN_STREAMS": str(tmp_path / "streams.toml"),
            "TOCSIN_DATA": str(tmp_path / "data"),
            "TOCSIN_ENGINE": "null",
            "TOCSIN_SLICE_ITEMS": str(settings.slice_items),
            "TOCSIN_CHECKPOINT_S": str(settings.checkpoint_s),
        }
        for kind in ("ingest", "score", "aggregate", "dispatch"):
            fleet.add(kind, 1)
        fleet.start_all()
        expected = len(in_one_go(deployment))
        wait_until(lambda: len(stored(engine)) >= expected, "the surges")
        ends = [fleet.stop(worker) for worker in fleet.workers]
        assert ends == [0, 0, 0, 0], (logs / "score-0.log").read_text()
        counts = [kept.state.counts for kept in clock_states(deployment.cluster, deployment.names).values()]
        return stored(engine), {name: sum(getattr(c, name) for c in counts) for name in FATES}

    yield run
    fleet.end()


@pytest.fixture(params=["local", "kafka_workers"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found: Runtime = request.getfixturevalue(request.param)
    return found


def test_a_recorded_stream_gives_the_digest_of_the_folds_and_the_counts_of_a_plain_dictionary(
    deployment: Deployment, runtime: Runtime
) -> None:
    clock = f"{STREAM}/push/1"
    deployment.send(clock, [b"no json", b"\xff\xfe", b'{"text": 5'], [("form", b"json")])
    fed(deployment, seed=3)
    transitions, fates = runtime(deployment)
    expected = in_one_go(deployment)
    assert len(expected) > 10
    assert digest(transitions) == digest(expected)
    count = Count()
    topic = deployment.names.raw(STREAM, "push")
    for partition in range(3):
        count.add(read_back(deployment.settings, topic, partition, 0))
    assert fates == {name: getattr(count, name) for name in FATES}
    assert count.dead == 3


def test_a_definition_that_changes_at_a_tick_gives_the_same_digest_everywhere(
    deployment: Deployment, runtime: Runtime
) -> None:
    from datetime import UTC, datetime

    at_us = int(datetime(2024, 5, 6, 0, 20, tzinfo=UTC).timestamp()) * 1_000_000
    [change] = deployment.apply(STREAMS.replace("threshold = 0.9", "threshold = 0.8"), at_us)
    assert (change.what, change.from_us % MINUTE_US) == ("changed", 0)
    fed(deployment, seed=4)
    transitions, _ = runtime(deployment)
    expected = in_one_go(deployment)
    assert {t.definition for t in expected} == {
        deployment.registry.turn(STREAM, number).definition.version for number in (1, 2)
    } or {t.definition for t in expected} == {deployment.registry.turn(STREAM, 2).definition.version}
    assert digest(transitions) == digest(expected)
