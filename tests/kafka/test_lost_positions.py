"""Ingest and scoring where the log and their position do not belong together: a clear stop, and nothing is skipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deployed import Deployment, running, wait_until

from pipeline.errors import ConfigurationError, LogLost, TocsinError, UnknownRecord
from pipeline.kafka import ingest, score
from pipeline.kafka.client import connection, producer_config
from pipeline.kafka.step import Place
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.kafka.worker import Context
from pipeline.settings import Settings

CLOCK = "logs/push/0"
ITEM = {"text": "disk failed", "time": "2024-05-06T00:00:00Z"}


class Broken:
    """A deployment whose ingest and scoring have read some items and were stopped, for someone to break."""

    def __init__(self, settings: Settings) -> None:
        self.deployment = Deployment(settings)
        self.deployment.apply()
        self.names = names = self.deployment.names
        self.raw = Place(*names.raw_place(CLOCK))
        self.signals = Place(names.signals, names.signal_partition(CLOCK))
        self.admin = AdminClient(connection(settings))
        self.feed(10)
        workers = self.deployment.context("ingest"), self.deployment.context("score")
        with running(ingest.run, workers[0]), running(score.run, workers[1]):
            wait_until(lambda: bool(self.deployment.scores()), "scores")

    def feed(self, count: int) -> None:
        self.deployment.send_items(CLOCK, [ITEM] * count)

    def forget(self, group: str) -> None:
        """As when offsets expire."""
        for future in self.admin.delete_consumer_groups([self.names.group(group)]).values():
            future.result()

    def cut(self, place: Place) -> None:
        """As retention does when nobody reads: records go that nobody has seen."""
        end = self.deployment.cluster.bounds([place])[place].end
        for future in self.admin.delete_records([TopicPartition(*place, end)]).values():
            future.result()

    def make_anew(self, topic: str) -> None:
        for future in self.admin.delete_topics([topic]).values():
            future.result()
        wait_until(lambda: topic not in self.admin.list_topics(timeout=10).topics, "the topic to be gone")
        made = TopicAdmin(self.deployment.settings, self.deployment.file.streams.values()).create()
        assert made == [topic]

    def fill(self, place: Place, count: int) -> None:
        """Write so many records that nobody can read."""
        producer = Producer(producer_config(self.deployment.settings))
        for _ in range(count):
            producer.produce(place.topic, b"?", partition=place.partition)
        assert producer.flush(30) == 0
        assert self.deployment.cluster.bounds([place])[place].end == count

    def process(self, worker: str) -> subprocess.Popen[str]:
        """A worker as a process of its own, that can be frozen."""
        settings = self.deployment.settings
        environment = os.environ | {
            "TOCSIN_KAFKA": settings.kafka or "",
            "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
            "TOCSIN_KAFKA_RAW_PARTITIONS": str(settings.kafka_raw_partitions),
            "TOCSIN_KAFKA_SIGNAL_PARTITIONS": str(settings.kafka_signal_partitions),
            "TOCSIN_BUCKETS": str(settings.buckets),
            "TOCSIN_ENGINE": settings.engine,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "run", worker],
            env=environment,
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def reset(self, group: str, place: Place) -> None:
        """As `kafka-consumer-groups.sh --reset-offsets` does."""
        wanted = ConsumerGroupTopicPartitions(self.names.group(group), [TopicPartition(*place, 3)])
        for future in self.admin.alter_consumer_group_offsets([wanted]).values():
            future.result()

    def stops(self, run: Callable[[Context], None], error: type[TocsinError], said: str) -> None:
        """The worker ends by itself with this error, and its group has committed nothing more."""
        name = run.__module__.rpartition(".")[2]
        before = self.deployment.cluster.committed(self.names.group(name))
        context = self.deployment.context(name)
        with pytest.raises(error, match=said):
            run(context)
        after = self.deployment.cluster.committed(self.names.group(name))
        assert after == before


@pytest.fixture
def broken(kafka_settings: Settings) -> Broken:
    return Broken(kafka_settings.model_copy(update={"engine": "null"}))


def test_offsets_of_ingest_that_expired_stop_it(broken: Broken) -> None:
    broken.forget("ingest")
    broken.stops(ingest.run, LogLost, rf"the committed position of {CLOCK} is gone .*Nothing was skipped")


def test_items_that_went_before_ingest_read_them_stop_it(broken: Broken) -> None:
    broken.feed(5)
    broken.cut(broken.raw)
    broken.stops(ingest.run, LogLost, rf"{CLOCK} was read up to \d+, and .* removed by retention")


def test_a_raw_topic_made_anew_stops_ingest(broken: Broken) -> None:
    broken.make_anew(broken.raw.topic)
    broken.feed(5)
    broken.stops(ingest.run, LogLost, "made anew")


@pytest.mark.parametrize("worker", [ingest, score])
def test_a_topic_made_anew_while_it_is_read_stops_who_reads_it(broken: Broken, worker: ModuleType) -> None:
    name = worker.__name__.rpartition(".")[2]
    place = broken.raw if worker is ingest else broken.signals
    context = broken.deployment.context(name)
    before = broken.deployment.covered(name, *place)

    def interfere() -> None:
        wait_until(lambda: broken.deployment.covered(name, *place) > before, f"{name} to read")
        broken.make_anew(place.topic)

    broken.feed(1)
    if worker is score:
        with running(ingest.run, broken.deployment.context("ingest")):
            wait_until(lambda: broken.deployment.covered("ingest", *broken.raw) == 11, "ingest")
    meddler = threading.Thread(target=interfere, daemon=True)
    meddler.start()
    with pytest.raises((LogLost, ConfigurationError), match=r"made anew|no such topic|does not hold the position"):
        worker.run(context)
    meddler.join()


@pytest.mark.parametrize("name", ["ingest", "score"])
def test_a_topic_made_anew_behind_the_back_of_a_client_is_told_by_its_id(broken: Broken, name: str) -> None:
    """The client stands still meanwhile, and the new topic reaches up to its position: nothing else tells."""
    place = broken.raw if name == "ingest" else broken.signals
    before = broken.deployment.covered(name, *place)
    broken.feed(1)
    with running(ingest.run, broken.deployment.context("ingest")) if name == "score" else nullcontext():
        wait_until(lambda: name == "ingest" or broken.deployment.covered("ingest", *broken.raw) == 11, "ingest")
    process = broken.process(name)
    try:
        wait_until(lambda: broken.deployment.covered(name, *place) > before, f"{name} to read")
        process.send_signal(signal.SIGSTOP)
        end = broken.deployment.cluster.bounds([place])[place].end
        broken.make_anew(place.topic)
        broken.fill(place, end)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert f"{place.topic} was deleted and made anew while it was read" in said
    assert process.returncode == 1
    assert broken.deployment.covered(name, *place) == -1  # it went with the old topic, and nothing was committed since


def test_offsets_that_someone_set_stop_ingest_as_its_state_is_not_there(broken: Broken) -> None:
    broken.reset("ingest", broken.raw)
    broken.stops(
        ingest.run, UnknownRecord, rf"^{CLOCK}, group .*: the committed offset has no state with it: someone has set it"
    )


def test_offsets_of_scoring_that_expired_stop_it(broken: Broken) -> None:
    broken.forget("score")
    broken.stops(score.run, LogLost, rf"the committed position of {broken.signals.topic}/\d is gone")


def test_slices_that_went_before_they_were_scored_stop_scoring(broken: Broken) -> None:
    broken.feed(5)
    with running(ingest.run, broken.deployment.context("ingest")):
        covered = broken.deployment.covered
        wait_until(lambda: covered("ingest", *broken.raw) == 15, "ingest")
    broken.cut(broken.signals)
    broken.stops(score.run, LogLost, r"was read up to \d+, and holds \d+ to \d+")


def test_a_topic_of_signals_made_anew_stops_scoring(broken: Broken) -> None:
    broken.make_anew(broken.signals.topic)
    broken.stops(score.run, LogLost, "made anew|is gone")


def test_offsets_that_someone_set_stop_scoring(broken: Broken) -> None:
    broken.reset("score", broken.signals)
    broken.stops(score.run, LogLost, "is none of scoring's: someone has set it")
