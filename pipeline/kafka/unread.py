"""How many records lie between two offsets: what still waits for a worker, for people.

Offsets count more than records: each transaction takes one for its marker, and aborted records keep theirs. So a
short span is read and counted; of a long one the offsets say enough.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, TopicPartition

from pipeline.kafka.client import connection, kafka_errors, translated
from pipeline.kafka.cluster import Bounds
from pipeline.kafka.step import Place
from pipeline.settings import Settings

#: Longest span that is read.
SHORT = 200
#: Seconds that reading may take; what was not read by then is counted by its offsets.
READ_S = 3.0


def unread(settings: Settings, spans: Mapping[Place, Bounds]) -> dict[Place, int]:
    """How many records each span holds, at most. Raises BrokerUnavailable."""
    counts = {place: max(0, span.end - span.start) for place, span in spans.items()}
    short = {place for place, count in counts.items() if 0 < count <= SHORT}
    if short:
        counts |= _read(settings, {place: spans[place] for place in short})
    return counts


def _read(settings: Settings, spans: Mapping[Place, Bounds]) -> dict[Place, int]:
    """The counts of the spans that could be read in time."""
    counts = dict.fromkeys(spans, 0)
    done: set[Place] = set()
    deadline_s = time.monotonic() + READ_S
    with kafka_errors("counting what waits"):
        consumer = Consumer(
            connection(settings)
            | {
                "group.id": f"{settings.kafka_prefix}.status",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        try:
            consumer.assign([TopicPartition(*place, span.start) for place, span in spans.items()])
            while len(done) < len(spans) and time.monotonic() < deadline_s:
                message = consumer.poll(0.1)
                if message is None:
                    continue
                place, error = Place(message.topic() or "", message.partition() or 0), message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise translated(error, f"reading {place.topic}/{place.partition}")
                if error is not None or (message.offset() or 0) >= spans[place].end:
                    done.add(place)
                elif place not in done:
                    counts[place] += 1
        finally:
            consumer.close()
    return {place: counts[place] for place in done}
