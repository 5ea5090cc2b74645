"""The broker of the tests itself: what it confirmed survives it, and it survives nobody."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.errors import ServerStartFailed
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker

RECORDS = 500


@pytest.fixture(scope="module")
def broker(kafka_home: KafkaHome) -> Iterator[LocalBroker]:
    """A broker that may be killed."""
    with (
        tempfile.TemporaryDirectory(prefix="tocsin-kafka-", ignore_cleanup_errors=True) as folder,
        LocalBroker(Path(folder), kafka_home.libs) as started,
    ):
        yield started


def make_topic(bootstrap: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()


def values(bootstrap: str, topic: str) -> list[bytes]:
    """Every committed value of a topic's only partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "test",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[bytes] = []
    while True:
        message = consumer.poll(10)
        assert message is not None
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            consumer.close()
            return found
        found.append(message.value() or b"")


def test_a_killed_broker_comes_back_under_its_address_with_all_that_it_confirmed(broker: LocalBroker) -> None:
    make_topic(broker.bootstrap, "kept")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "kept", "linger.ms": 0})
    producer.init_transactions(10)
    confirmed: list[bytes] = []
    for transaction in range(5):
        producer.begin_transaction()
        made = [b"%d/%d" % (transaction, n) for n in range(RECORDS)]
        for value in made:
            producer.produce("kept", value)
        producer.commit_transaction(10)
        confirmed += made
    producer.begin_transaction()
    producer.produce("kept", b"never committed")
    producer.flush(10)
    before, address = broker.pid, broker.bootstrap
    broker.kill()
    assert not psutil.pid_exists(before)
    assert broker.start() == address
    assert broker.pid not in (0, before)
    Producer({"bootstrap.servers": address, "transactional.id": "kept"}).init_transactions(10)  # ends the open one
    assert values(address, "kept") == confirmed


def test_another_object_on_its_folder_starts_it_under_the_same_address(
    broker: LocalBroker, kafka_home: KafkaHome
) -> None:
    make_topic(broker.bootstrap, "handed-over")
    address = broker.bootstrap
    broker.stop()
    with LocalBroker(broker.folder, kafka_home.libs) as again:
        assert again.bootstrap == address
        assert "handed-over" in AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).topics
    broker.start()


def test_a_topic_that_nobody_made_is_an_error(broker: LocalBroker) -> None:
    failed: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "topic.metadata.propagation.max.ms": 0})
    with pytest.raises(KafkaException, match="Unknown topic"):  # noqa: PT012
        producer.produce("misspelt", b"x", on_delivery=lambda error, _: failed.append(error))
        producer.flush(10)
        raise KafkaException(failed[0])
    assert "misspelt" not in AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics


def test_it_dies_with_the_process_that_started_it(kafka_home: KafkaHome, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from pipeline.servers.kafka_broker import LocalBroker\n"
        "broker = LocalBroker(Path(sys.argv[1]), Path(sys.argv[2])); broker.start()\n"
        "print(broker.pid, file=sys.stderr, flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(kafka_home.libs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert starter.stdin is not None
    assert starter.stderr is not None
    with starter.stdin, starter.stderr:
        java = psutil.Process(int(starter.stderr.readline()))
        assert java.is_running()
        starter.kill()
        starter.wait()
        java.wait(10)


def test_a_broker_that_cannot_start_says_why(kafka_home: KafkaHome, tmp_path: Path) -> None:
    with pytest.raises(ServerStartFailed, match="Invalid value seven"):
        LocalBroker(tmp_path, kafka_home.libs, properties={"node.id": "seven"}).start()


def test_two_brokers_never_share_a_folder(
    broker: LocalBroker, kafka_home: KafkaHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topic(broker.bootstrap, "first-come")
    monkeypatch.setattr("pipeline.servers.kafka_broker._DYING_S", 0.1)
    with pytest.raises(ServerStartFailed, match="another broker runs on"):
        LocalBroker(broker.folder, kafka_home.libs).start()
    assert "first-come" in AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics
