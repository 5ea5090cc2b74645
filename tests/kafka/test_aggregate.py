"""`tocsin run aggregate` on a real broker: exact under kill, drained by SIGTERM, a clear stop where data is lost."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deployed import wait_until
from planted_tallies import Feed, Planted, Surges, by_identity

from pipeline.kafka.client import MAX_MESSAGE_BYTES, producer_config
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.records import TallyBatch, Transition, encode
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker
from pipeline.settings import Settings
from pipeline.tallies import EXEMPLAR_CHARACTERS

TOCSIN = Path(sys.executable).with_name("tocsin")


@functools.cache
def planted() -> Planted:
    return Planted.streams(3, minutes=50)


class Worker:
    """A process that runs `tocsin run aggregate`."""

    def __init__(self, settings: Settings, log: Path, *, checkpoint_s: float = 0.2) -> None:
        own = {
            "TOCSIN_KAFKA": str(settings.kafka),
            "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
            "TOCSIN_KAFKA_SIGNAL_PARTITIONS": str(settings.kafka_signal_partitions),
            "TOCSIN_BUCKETS": str(settings.buckets),
            "TOCSIN_CHECKPOINT_S": str(checkpoint_s),
            "TOCSIN_DATA": str(settings.data),
        }
        self._log = log
        with log.open("ab") as errors:
            command = [TOCSIN, "run", "aggregate"]
            self.process = subprocess.Popen(command, env=os.environ | own, stdout=errors, stderr=errors)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, how: signal.Signals = signal.SIGKILL, *, seconds: float = 30) -> int:
        self.process.send_signal(how)
        return self.process.wait(seconds)


class Deployment:
    """The planted streams, announced on a broker, and the workers that were started for it."""

    def __init__(self, settings: Settings, folder: Path, planted: Planted) -> None:
        self.settings = settings
        self.names = Names.of(settings)
        self.folder = folder
        self.workers: list[Worker] = []
        self.planted = planted
        planted.deploy(settings)
        self.surges = Surges(settings)
        self.transactions = planted.batches(settings.buckets)

    def start(self, *, checkpoint_s: float = 0.2) -> Worker:
        worker = Worker(self.settings, self.folder / f"worker-{len(self.workers)}.log", checkpoint_s=checkpoint_s)
        self.workers.append(worker)
        return worker

    def feed(self, begin: float = 0.0, end: float = 1.0, *, pause_s: float = 0.0) -> None:
        """Send a part of the planted tallies."""
        feed = Feed(self.settings)
        total = len(self.transactions)
        for shares in self.transactions[int(begin * total) : int(end * total)]:
            feed.send(shares)
            time.sleep(pause_s)

    def settle(self, seconds: float = 60) -> list[Transition]:
        """What is in `surges` when all that is expected is there."""
        wanted = self.planted.expected.keys()
        found = self.surges.wait(lambda found: by_identity(found).keys() >= wanted, seconds=seconds)
        assert by_identity(found) == self.planted.expected, [worker.said[-2000:] for worker in self.workers]
        return found

    def committed(self) -> dict[int, int]:
        """What the group has committed of tallies, by partition."""
        found = Cluster(self.settings).committed(self.names.group("aggregate"))
        return {place.partition: one.offset for place, one in found.items() if place.topic == self.names.tallies}

    def end_of_tallies(self) -> dict[int, int]:
        """The position after the last record that is no marker, by partition."""
        places = [Place(self.names.tallies, n) for n in range(self.names.buckets)]
        return {place.partition: bounds.end - 1 for place, bounds in Cluster(self.settings).bounds(places).items()}


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(kafka_settings, tmp_path, planted()) as made:
        yield made


@contextmanager
def deployed(settings: Settings, folder: Path, planted: Planted) -> Iterator[Deployment]:
    made = Deployment(settings, folder, planted)
    yield made
    made.surges.close()
    for worker in made.workers:
        worker.end()


def test_the_transitions_are_those_of_one_flow_and_a_drained_worker_leaves_nothing_to_repeat(
    deployment: Deployment,
) -> None:
    worker = deployment.start()
    deployment.feed()
    deployment.settle()
    assert worker.end(signal.SIGTERM, seconds=10) == 0, worker.said
    assert deployment.committed() == deployment.end_of_tallies()
    deployment.start()
    wait_until(lambda: _is_read(deployment), "the second worker")
    assert len(deployment.surges.wait(lambda _: False, seconds=1)) == len(planted().transitions)


def _is_read(deployment: Deployment) -> bool:
    """Whether a worker has the group's partitions."""
    group = deployment.names.group("aggregate")
    admin = AdminClient({"bootstrap.servers": deployment.settings.kafka, "log_level": 0})
    described = admin.describe_consumer_groups([group])[group].result()  # type: ignore[no-untyped-call]
    return any(member.assignment.topic_partitions for member in described.members)


def test_a_killed_worker_s_successor_goes_on_from_the_rows(deployment: Deployment) -> None:
    first = deployment.start()
    deployment.feed(0, 0.7)
    wait_until(lambda: any(deployment.committed().values()), "a checkpoint")
    first.end()
    deployment.start()
    deployment.feed(0.7)
    deployment.settle()


def test_two_workers_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    deployment: Deployment,
) -> None:
    deployment.start()
    other = deployment.start()
    deployment.feed(0, 0.7, pause_s=0.02)
    wait_until(lambda: any(deployment.committed().values()), "a checkpoint")
    other.end()
    deployment.feed(0.7)
    deployment.settle()


def test_a_worker_that_is_frozen_and_comes_back_spoils_nothing(deployment: Deployment) -> None:
    frozen = deployment.start()
    deployment.feed(0, 0.5)
    wait_until(lambda: any(deployment.committed().values()), "a checkpoint")
    frozen.process.send_signal(signal.SIGSTOP)
    deployment.start()
    deployment.feed(0.5, 0.9)
    wait_until(lambda: _has_passed(deployment, 0.6), "the other worker")
    frozen.process.send_signal(signal.SIGCONT)
    deployment.feed(0.9)
    deployment.settle()


def _has_passed(deployment: Deployment, share: float) -> bool:
    ends = deployment.end_of_tallies()
    committed = deployment.committed()
    return all(committed.get(partition, 0) >= share * end for partition, end in ends.items())


def test_what_a_scorer_aborted_is_not_read(deployment: Deployment) -> None:
    """Without `_create_worker_consumer` the worker would read the bytes, and stop."""
    own = {"transactional.id": deployment.settings.kafka_prefix, "delivery.timeout.ms": 30_000}
    producer = Producer(producer_config(deployment.settings) | own)
    producer.init_transactions()
    producer.begin_transaction()
    for partition in range(deployment.names.buckets):
        producer.produce(deployment.names.tallies, partition=partition, value=b"aborted")
    producer.flush()
    producer.abort_transaction()
    deployment.start()
    deployment.feed()
    deployment.settle()


def test_reading_goes_on_where_the_rows_are_whatever_the_group_has_committed(deployment: Deployment) -> None:
    """Without `perform_seek` nothing would be read, as the folds are restored there. Where it only went on at what is
    committed, the host would miss records, seconds later, and read again."""
    deployment.feed()
    group = deployment.names.group("aggregate")
    admin = AdminClient({"bootstrap.servers": deployment.settings.kafka, "log_level": 0})
    ends = [
        TopicPartition(deployment.names.tallies, partition, end)
        for partition, end in deployment.end_of_tallies().items()
    ]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, ends)])[group].result()
    worker = deployment.start()
    deployment.settle()
    assert "rewound" not in worker.said


def test_only_what_is_in_rows_is_committed(deployment: Deployment) -> None:
    """Without `_filter_committable_offsets` Faust would commit what its agents have seen."""
    worker = deployment.start(checkpoint_s=1000)
    deployment.feed()
    deployment.settle()
    deployment.surges.wait(lambda _: False, seconds=2.5)  # two of its commits
    assert not any(deployment.committed().values())
    assert worker.end(signal.SIGTERM, seconds=10) == 0, worker.said
    assert deployment.committed() == deployment.end_of_tallies()


def test_records_of_megabytes_pass_with_all_their_evidence(kafka_settings: Settings, tmp_path: Path) -> None:
    wide = Planted.wide(hosts=200)
    with deployed(kafka_settings, tmp_path, wide) as deployment:
        sizes = [len(encode(batch)) for shares in deployment.transactions for batch in shares]
        assert 4 * 2**20 < max(sizes) < MAX_MESSAGE_BYTES
        first = deployment.start()
        deployment.feed(0, 0.5)
        wait_until(lambda: _has_passed(deployment, 0.9), "a checkpoint with states of megabytes")
        first.end()
        deployment.start()  # reads them back
        deployment.feed(0.5)
        found = deployment.settle()
    shown = [exemplar.text for transition in found for exemplar in transition.exemplars]
    assert max(len(text.encode()) for text in shown) > 4 * EXEMPLAR_CHARACTERS - 10


def test_bytes_that_are_no_record_stop_the_worker(deployment: Deployment) -> None:
    producer = Producer(producer_config(deployment.settings))
    producer.produce(deployment.names.tallies, partition=0, value=b"\x63poison")
    producer.flush()
    worker = deployment.start()
    assert worker.process.wait(60) == 1
    assert "of format 99 was found" in worker.said


def test_a_log_that_does_not_hold_the_position_any_more_stops_the_worker(deployment: Deployment) -> None:
    deployment.feed(0, 0.3)
    admin = AdminClient({"bootstrap.servers": deployment.settings.kafka, "log_level": 0})
    gone = TopicPartition(deployment.names.tallies, 0, 3)
    admin.delete_records([gone])[gone].result()  # type: ignore[no-untyped-call]
    worker = deployment.start()
    assert worker.process.wait(60) == 1
    assert f"goes on at offset 0 of {deployment.names.tallies}/0, and the log begins at 3" in worker.said


def test_a_topic_made_anew_stops_the_worker(deployment: Deployment) -> None:
    worker = deployment.start()
    deployment.feed(0, 0.3)
    wait_until(lambda: any(deployment.committed().values()), "a checkpoint")
    assert worker.end(signal.SIGTERM) == 0
    admin = AdminClient({"bootstrap.servers": deployment.settings.kafka, "log_level": 0})
    name = deployment.names.tallies
    admin.delete_topics([name])[name].result()
    wait_until(lambda: name not in admin.list_topics(timeout=10).topics, "the topic to go")
    planted().deploy(deployment.settings)
    deployment.feed(0, 0.3)
    worker = deployment.start()
    assert worker.process.wait(60) == 1
    assert "counts in a topic that is gone" in worker.said


def test_records_that_were_never_written_stop_the_worker_and_nothing_is_skipped(deployment: Deployment) -> None:
    feed = Feed(deployment.settings)
    for number, shares in enumerate(deployment.transactions[:12]):
        if number == 5:
            shares = [TallyBatch(share.bucket, []) for share in shares]
        feed.send(shares)
    worker = deployment.start()
    assert worker.process.wait(60) == 1
    assert "stays missing after it was read again" in worker.said


def test_missing_topics_are_named_with_what_to_do(kafka_settings: Settings, tmp_path: Path) -> None:
    worker = Worker(kafka_settings, tmp_path / "log")
    assert worker.process.wait(60) == 1
    assert "tocsin topics create" in worker.said


def test_a_broker_that_dies_is_waited_for_and_nobody_who_is_told_to_stop_waits_for_it(
    kafka_home: KafkaHome, tmp_path: Path
) -> None:
    with LocalBroker(tmp_path / "broker", kafka_home.libs) as broker:
        settings = Settings(
            data=tmp_path, kafka=broker.bootstrap, kafka_prefix="t", kafka_signal_partitions=2, buckets=2
        )
        deployment = Deployment(settings, tmp_path, planted())
        worker, leaving = deployment.start(), deployment.start()
        try:
            deployment.feed(0, 0.6)
            wait_until(lambda: any(deployment.committed().values()), "a checkpoint")
            broker.kill()
            wait_until(lambda: "dependency_unavailable" in worker.said, "the worker to notice")
            assert leaving.end(signal.SIGTERM, seconds=10) == 0, leaving.said
            broker.start()
            deployment.feed(0.6)
            deployment.settle()
            assert worker.end(signal.SIGTERM, seconds=10) == 0
            assert worker.said.count("dependency_unavailable") == 1
            assert worker.said.count("\n") <= 8, worker.said
        finally:
            for one in deployment.workers:
                one.end()
            deployment.surges.close()
