"""A write is answered once its commit is marked in the log: a broker that dies before may forget it (KAFKA-20734)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from deployed import Deployment, wait_until

from pipeline.errors import BrokerUnavailable, JournalError, JournalUncertain
from pipeline.kafka import raw_transaction
from pipeline.kafka.client import connection
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.health import Health
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.step import Place
from pipeline.settings import Settings


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    return Deployment(kafka_settings)


def raw_place(deployment: Deployment) -> Place:
    return Place(deployment.names.raw("logs", "push"), 0)


def values(deployment: Deployment) -> list[bytes]:
    return [payload for record in deployment.raw("logs/push/0") for payload in record.payloads]


def test_a_write_is_answered_when_readers_of_committed_records_get_to_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, marked = threading.Event(), threading.Event()
    real = Cluster.stable_ends

    def held_back(self: Cluster, places: Iterable[Place]) -> Mapping[Place, int]:
        asked.set()
        return real(self, places) if marked.is_set() else dict.fromkeys(places, 0)

    monkeypatch.setattr(Cluster, "stable_ends", held_back)
    monkeypatch.setattr(raw_transaction, "MARK_S", 90.0)
    with RawWriter(deployment.settings, name="api", health=Health("api")) as writer, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(writer.write, raw_place(deployment), [(b"a", None)])
        assert asked.wait(90)
        assert not writing.done()
        marked.set()
        assert writing.result(90) == (0, 1)


def test_a_broker_that_went_away_and_forgot_to_mark_leaves_the_write_uncertain(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = Cluster.stable_ends, 0

    def forgotten(self: Cluster, places: Iterable[Place]) -> Mapping[Place, int]:
        nonlocal answers
        answers += 1
        if answers == 1:
            raise BrokerUnavailable("Kafka does not answer")
        return dict.fromkeys(places, 0)

    monkeypatch.setattr(raw_transaction, "MARK_S", 0.0)  # a standing broker would be believed at once
    monkeypatch.setattr(raw_transaction, "COMMIT_S", 0.0)
    monkeypatch.setattr(raw_transaction, "WRITE_S", 3.0)
    monkeypatch.setattr(raw_transaction, "RESOLVE_S", 3.0)
    with RawWriter(deployment.settings, name="api", health=Health("api")) as writer:
        monkeypatch.setattr(Cluster, "stable_ends", forgotten)
        with pytest.raises(JournalUncertain):
            writer.write(raw_place(deployment), [(b"open", None)])
        monkeypatch.setattr(Cluster, "stable_ends", real)

        def written() -> bool:
            try:
                writer.write(raw_place(deployment), [(b"after", None)])
            except JournalError:  # the writer still looks for an end of the other
                return False
            return True

        wait_until(written, "the writer to go on")
    assert values(deployment)[-1] == b"after"


def test_a_write_waits_for_a_broker_that_comes_back_and_marks_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = Cluster.stable_ends, 3

    def away_for_a_while(self: Cluster, places: Iterable[Place]) -> Mapping[Place, int]:
        nonlocal away
        if away:
            away -= 1
            raise BrokerUnavailable("Kafka does not answer")
        return real(self, places)

    monkeypatch.setattr(Cluster, "stable_ends", away_for_a_while)
    health = Health("api")
    with RawWriter(deployment.settings, name="api", health=health) as writer:
        assert writer.write(raw_place(deployment), [(b"a", None)]) == (0, 1)
        assert health.states()["kafka"] == "ok"
    assert away == 0


def test_another_transaction_that_is_open_in_the_partition_does_not_hold_a_write_for_long(
    deployment: Deployment,
) -> None:
    place = raw_place(deployment)
    other = Producer(connection(deployment.settings) | {"transactional.id": f"{deployment.settings.kafka_prefix}.x"})
    other.init_transactions(30)
    other.begin_transaction()
    other.produce(place.topic, b"open", partition=place.partition)
    assert other.flush(30) == 0
    with RawWriter(deployment.settings, name="api", health=Health("api")) as writer:
        assert writer.write(place, [(b"a", None)]) == (1, 2)
    other.abort_transaction(30)
    assert values(deployment) == [b"a"]
