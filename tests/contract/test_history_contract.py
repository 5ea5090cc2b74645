"""What Kafka's workers have found is found again by replay: from the archive and from the log behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deployed import Deployment
from test_runtimes import deployment, fed, in_one_go, kafka_workers

from pipeline.archive.archive import Archive
from pipeline.bench.feed import STREAM, STREAMS
from pipeline.detect.digest import digest
from pipeline.instants import DAY_US, MINUTE_US
from pipeline.kafka import archive as archiving
from pipeline.kafka.archive import Archiver
from pipeline.kafka.past import Past
from pipeline.kafka.registry import Registry
from pipeline.kafka.score_topic import ScoreTopic
from pipeline.records import encode

if TYPE_CHECKING:
    import pytest
    from test_runtimes import Runtime

__all__ = ["deployment", "kafka_workers"]


def test_replay_finds_what_the_workers_have_found(
    deployment: Deployment,
    kafka_workers: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over a change of definition; half of the scores are archived, and a range begins at an archived state."""
    settings = deployment.settings
    at_us = int(datetime(2024, 5, 6, 0, 20, tzinfo=UTC).timestamp()) * 1_000_000
    deployment.apply(STREAMS.replace("threshold = 0.9", "threshold = 0.8"), at_us)
    fed(deployment, seed=5)
    live, _ = kafka_workers(deployment)
    assert live
    assert digest(live) == digest(in_one_go(deployment))
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 250)
    archive = Archive(settings.archive_folder)
    archiver = Archiver(archive, ScoreTopic(settings), Registry(settings))
    for _ in zip(range(8), archiver.run(), strict=False):
        pass
    assert archive.last == 8
    first_us, last_us = min(t.tick_us for t in live), max(t.tick_us for t in live)
    middle_us = sorted(t.tick_us for t in live)[len(live) // 2]
    for begin_us, end_us in (
        (first_us - DAY_US, last_us + DAY_US),
        (middle_us, middle_us + 2 * MINUTE_US),
        (first_us, middle_us),
        (middle_us, last_us + MINUTE_US),
    ):
        replay = Past(settings).replay([STREAM], begin_us, end_us)
        found = [t for step in replay.steps() for t in step.transitions]
        assert digest(found) == digest(t for t in live if begin_us <= t.tick_us < end_us)
    # Read as a whole, for the words of a surge, nothing is left out or read twice where the archive meets the log.
    whole = [encode(one.scored) for one in ScoreTopic(settings).after({}, "") if one.scored.slice.stream == STREAM]
    assert sorted(map(encode, Past(settings).slices(STREAM))) == sorted(whole)
