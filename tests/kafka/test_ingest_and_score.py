"""Ingest and scoring on a real broker: what comes out is what the folds make of the same raw log."""

from __future__ import annotations

import pytest
from deployed import STREAMS, Deployment, running, wait_until

from pipeline.ingest.fold import IngestFold
from pipeline.kafka import ingest, score
from pipeline.kafka.health import Health
from pipeline.kafka.readback import read_back
from pipeline.kafka.step import Assigned, Place
from pipeline.kafka.worker import Context
from pipeline.records import SignalSlice, TallyBatch, decode
from pipeline.settings import Settings

CLOCK = "logs/push/0"


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    made = Deployment(kafka_settings.model_copy(update={"engine": "null"}))
    made.apply()
    return made


def items(count: int, *, first: int = 0) -> list[dict[str, object]]:
    return [
        {
            "id": f"i{n}",
            "time": f"2024-05-06T00:{n // 60 % 60:02}:{n % 60:02}Z",
            "text": f"disk {n} failed",
            "source": "a",
        }
        for n in range(first, first + count)
    ]


def flat(slices: list[SignalSlice]) -> list[object]:
    return [signal for slice in sorted(slices, key=lambda s: s.start) for signal in slice.signals]


def test_signals_are_those_of_the_fold_over_the_raw_log(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, items(500))
    deployment.send(CLOCK, [b"\xff\x00 no json", b"{broken"], [("source", b"s")])
    deployment.send_items(CLOCK, items(10))  # duplicates
    with running(ingest.run, deployment.context("ingest")):
        wait_until(lambda: deployment.covered("ingest", *deployment.names.raw_place(CLOCK)) == 512, "ingest")
    turn = deployment.registry.turn("logs", 1)
    expected = IngestFold(turn, CLOCK).apply(deployment.raw(CLOCK))
    assert flat(deployment.slices(deployment.names.signals)) == flat(expected)
    assert sum(slice.duplicates for slice in deployment.slices(deployment.names.signals)) == 10


def test_a_restart_remembers_ids_and_covers_each_position_once(deployment: Deployment) -> None:
    place = deployment.names.raw_place(CLOCK)
    for end, batch in ((100, items(100)), (150, items(50)), (250, items(100, first=50))):
        with running(ingest.run, deployment.context("ingest")):
            deployment.send_items(CLOCK, batch)
            wait_until(lambda end=end: deployment.covered("ingest", *place) == end, "ingest")  # type: ignore[misc]
    slices = sorted(deployment.slices(deployment.names.signals), key=lambda s: s.start)
    assert [s.start for s in slices[1:]] == [s.end for s in slices[:-1]]
    assert sum(s.duplicates for s in slices) == 100
    assert len(flat(slices)) == 150


def test_a_worker_that_is_behind_with_large_items_goes_on(deployment: Deployment) -> None:
    large = [item | {"text": str(item["text"]) + " again" * 2_000} for item in items(4_000)]
    deployment.send_items(CLOCK, large)  # 48 MB: more than one record holds
    with running(ingest.run, deployment.context("ingest")) as context:
        wait_until(lambda: deployment.covered("ingest", *deployment.names.raw_place(CLOCK)) == 4_000, "ingest")
    assert context.metrics.registry.get_sample_value("tocsin_transaction_aborts_total") == 0
    slices = sorted(deployment.slices(deployment.names.signals), key=lambda s: s.start)
    assert [s.start for s in slices[1:]] == [s.end for s in slices[:-1]]
    assert len(flat(slices)) == 4_000


def test_a_heartbeat_that_kafka_has_not_taken_is_not_kept_for_its_return(kafka_settings: Settings) -> None:
    deployment = Deployment(kafka_settings, STREAMS.replace('clock = "data"', 'clock = "arrival"\nidle_after = "1s"'))
    deployment.apply()
    away = deployment.settings.model_copy(update={"kafka": "127.0.0.1:1"})
    step = ingest.IngestStep(Context(settings=away, file=deployment.file, health=Health("i")), deployment.registry)
    place = Place(*deployment.names.raw_place(CLOCK))
    step.assigned(Assigned(place=place, topic_id="t", committed=None, metadata="", low=0, high=0))
    step.at_end(place)
    idleness = step._clocks[place].idleness
    began_s = idleness.busy_s

    def dropped() -> bool:
        step.idle()
        return idleness.busy_s > began_s

    wait_until(dropped, "the end of a heartbeat", 15.0)
    wait_until(lambda: step._beats.flush(0.1) == 0, "an empty queue", 15.0)


def test_every_bucket_is_told_of_every_slice(deployment: Deployment) -> None:
    deployment.send_items(CLOCK, items(300))
    with running(ingest.run, deployment.context("ingest")), running(score.run, deployment.context("score")):
        partition = deployment.names.signal_partition(CLOCK)
        wait_until(lambda: sum(len(s.slice.signals) for s in deployment.scores()) == 300, "scores")
    for bucket in range(deployment.names.buckets):
        batches = [
            decode(m.value() or b"", TallyBatch)
            for m in read_back(deployment.settings, deployment.names.tallies, bucket, 0)
        ]
        slices = [slice for batch in batches for slice in batch.slices]
        assert (slices[0].start, slices[-1].end) == (0, 300)
        assert [s.start for s in slices[1:]] == [s.end for s in slices[:-1]]
    assert partition in range(2)
