"""Reading back: what a worker wrote before it was started, from an offset to where its state says it had come."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipeline.errors import BrokerUnavailable
from pipeline.kafka.client import CALL_S, connection, kafka_errors, translated
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.step import Place
from pipeline.settings import Settings

#: Seconds that a broker which has just come back may take to know where its partitions are, and between two questions.
_MOVING_S, _PAUSE_S = 5.0, 0.2
#: Seconds that a transaction of another worker may hold back what is read.
_HELD_S = 45.0


def end_of(settings: Settings, topic: str, partition: int) -> int:
    """The offset after a partition's last, transactions that are open or aborted included. Raises BrokerUnavailable,
    ConfigurationError."""
    place, cluster = Place(topic, partition), Cluster(settings)
    until_s = time.monotonic() + _MOVING_S
    while True:
        try:
            return cluster.bounds([place])[place].end
        except BrokerUnavailable:
            if time.monotonic() > until_s:
                raise
            time.sleep(_PAUSE_S)


def read_back(settings: Settings, topic: str, partition: int, start: int) -> Iterator[Message]:
    """The committed messages from `start` (or the log's beginning, where that is later) to the log's end as of now.

    Waits where a transaction that is open holds back what lies behind it. Raises BrokerUnavailable,
    ConfigurationError.
    """
    what = f"reading {topic}/{partition} back"
    end = end_of(settings, topic, partition)
    with kafka_errors(what):
        place = TopicPartition(topic, partition)
        consumer = Consumer(
            connection(settings)
            | {
                "group.id": f"{topic}.readback",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )
        try:
            low, _ = consumer.get_watermark_offsets(place, CALL_S)
            if max(start, low) >= end:
                return
            consumer.assign([TopicPartition(topic, partition, max(start, low))])
            deadline_s = time.monotonic() + _HELD_S
            while True:
                message = consumer.poll(1.0)
                if message is None or message.error() is not None:
                    error = None if message is None else message.error()
                    at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                    if at_end and message is not None and (message.offset() or 0) >= end:
                        return
                    if error is not None and not at_end:
                        raise translated(error, what)
                    if time.monotonic() > deadline_s:
                        raise BrokerUnavailable(
                            f"{what}: an open transaction holds it back before offset {end}; if this stays, see "
                            "`kafka-transactions.sh find-hanging`"
                        )
                    continue
                deadline_s = time.monotonic() + _HELD_S
                yield message
                if (message.offset() or 0) + 1 >= end:
                    return
        finally:
            consumer.close()


def holds_records(settings: Settings, topic: str, partition: int) -> bool:
    """Whether a partition holds anything that was committed. Raises BrokerUnavailable, ConfigurationError."""
    return next(read_back(settings, topic, partition, 0), None) is not None
