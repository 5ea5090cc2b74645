"""The score log on Kafka, read by ranges of offsets: for the archive and for replay.

Of several partitions, the one whose events are furthest behind is read first, so that whoever folds what comes needs
little memory, however long the log.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Generator, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipeline.archive.tables import LoggedSlice
from pipeline.errors import BrokerUnavailable, LogLost
from pipeline.instants import EARLIEST_US
from pipeline.kafka.client import connection, kafka_errors, translated
from pipeline.kafka.cluster import Bounds, Cluster
from pipeline.kafka.decoding import decoded
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.records import ScoreSlice
from pipeline.settings import Settings

#: Seconds without a message after which reading is given up: a transaction holds records back for ten at most.
_HELD_S = 60.0
#: Messages of a partition in memory above which it waits for the others, and below which it goes on.
_MOST, _FEW = 200, 50

#: `[start, end)` of each partition.
Ranges = Mapping[int, tuple[int, int]]


class ScoreTopic:
    """The topic of scores of a deployment. Every method raises BrokerUnavailable, and ConfigurationError where there is
    no such topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = Cluster(settings)
        self.name = Names.of(settings).scores

    def id(self) -> str:
        """What tells it from one that is made anew under its name."""
        return self._cluster.topics([self.name])[self.name].id

    def bounds(self) -> dict[int, Bounds]:
        """The bounds of each partition, as of now."""
        partitions = range(self._cluster.topics([self.name])[self.name].partitions)
        found = self._cluster.bounds(Place(self.name, n) for n in partitions)
        return {place.partition: bounds for place, bounds in found.items()}

    def check_holds(self, positions: Mapping[int, int], advice: str) -> dict[int, Bounds]:
        """The bounds, given that every partition still holds what follows its position. Raises LogLost, with advice."""
        bounds = self.bounds()
        for n, (start, end) in sorted((n, (b.start, b.end)) for n, b in bounds.items()):
            position = positions.get(n, 0)
            if not start <= position <= end:
                what = f"{position} to {start} are past its retention" if position < start else "it was made anew"
                raise LogLost(
                    f"{self.name}/{n} was to be read from {position} and holds {start} to {end}: {what}; {advice}"
                )
        return bounds

    def after(self, positions: Mapping[int, int], advice: str) -> Generator[LoggedSlice]:
        """What follows a position in each partition (0 where none is given), to the end as of now. Raises LogLost, with
        advice, where it is not there any more; UnknownRecord."""
        bounds = self.check_holds(positions, advice)
        return self.read({n: (positions.get(n, 0), b.end) for n, b in bounds.items()})

    def read(self, ranges: Ranges) -> Generator[LoggedSlice]:
        """The committed slices in some ranges. Raises UnknownRecord."""
        left = {n: r for n, r in ranges.items() if r[0] < r[1]}
        if not left:
            return
        parts = _Parts(self._settings, self.name, left)
        try:
            furthest = [(EARLIEST_US, n) for n in left]
            heapq.heapify(furthest)
            while furthest:
                n = furthest[0][1]
                message = parts.next(n)
                if message is None:
                    heapq.heappop(furthest)
                    continue
                scored = decoded(Place(self.name, n), message.offset(), message.value(), ScoreSlice)
                heapq.heapreplace(furthest, (scored.slice.reached_us, n))
                yield LoggedSlice(n, message.offset() or 0, scored)
        finally:
            parts.close()


class _Parts:
    """One consumer of several partitions, each with a queue of its own."""

    def __init__(self, settings: Settings, topic: str, ranges: Ranges) -> None:
        self._topic = topic
        self._ends = {n: end for n, (_, end) in ranges.items()}
        self._queues: dict[int, deque[Message]] = {n: deque() for n in ranges}
        self._over: set[int] = set()
        self._paused: set[int] = set()
        config = {
            "group.id": f"{topic}.history",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 16_384,
        }
        with kafka_errors(f"reading {topic}"):
            self._consumer = Consumer(connection(settings) | config)
            self._consumer.assign([TopicPartition(topic, n, start) for n, (start, _) in ranges.items()])

    def next(self, n: int) -> Message | None:
        """The next message of a partition; None at its end."""
        queue = self._queues[n]
        deadline_s = time.monotonic() + _HELD_S
        while not queue and n not in self._over:
            if self._poll():
                deadline_s = time.monotonic() + _HELD_S
            elif time.monotonic() > deadline_s:
                raise BrokerUnavailable(
                    f"reading {self._topic}/{n}: nothing came for {_HELD_S:.0f} s; Kafka does not answer, or an open "
                    "transaction holds back what was written"
                )
        if n in self._paused and len(queue) < _FEW:
            self._pause(n, False)
        return queue.popleft() if queue else None

    def close(self) -> None:
        self._consumer.close()

    def _poll(self) -> bool:
        """Take what is there; whether anything was."""
        with kafka_errors(f"reading {self._topic}"):
            first = self._consumer.poll(0.2)
            messages = [] if first is None else [first, *self._consumer.consume(500, 0)]
        for message in messages:
            n, offset, error = message.partition() or 0, message.offset() or 0, message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise translated(error, f"reading {self._topic}/{n}")
                if offset >= self._ends[n]:
                    self._over.add(n)
                continue
            if offset < self._ends[n]:
                self._queues[n].append(message)
            if offset + 1 >= self._ends[n]:
                self._over.add(n)
        for n, queue in self._queues.items():
            if (len(queue) > _MOST or n in self._over) and n not in self._paused:
                self._pause(n, True)
        return bool(messages)

    def _pause(self, n: int, pause: bool) -> None:
        if not pause and n in self._over:
            return
        (self._paused.add if pause else self._paused.discard)(n)
        with kafka_errors(f"reading {self._topic}/{n}"):
            (self._consumer.pause if pause else self._consumer.resume)([TopicPartition(self._topic, n)])
