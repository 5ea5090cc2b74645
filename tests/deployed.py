"""A deployment for a test: topics and definitions, items in raw topics, workers on threads, and what topics hold."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from confluent_kafka import Producer

from pipeline.kafka.client import producer_config
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.definitions import Change, Definitions
from pipeline.kafka.health import Health
from pipeline.kafka.names import Names
from pipeline.kafka.readback import read_back
from pipeline.kafka.registry import Registry
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.kafka.wire import Headers, raw_records
from pipeline.kafka.worker import Context
from pipeline.records import RawRecord, ScoreSlice, SignalSlice, decode
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile, parse

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
lateness = "1m"
clock = "data"
group = ["source"]
member = ["host"]
silence = "zero"
max_ahead = "3650d"
[[streams.logs.sources]]
name = "push"
kind = "push"
"""
WAIT_S = 90.0


def wait_until(true: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Wait for a condition. Raises AssertionError when it does not come true."""
    deadline = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < deadline, f"waited {wait_s:g} s for {what}"
        time.sleep(0.02)


class Deployment:
    """One deployment on the broker of the tests."""

    def __init__(self, settings: Settings, streams: str = STREAMS) -> None:
        self.settings = settings
        self.names = Names.of(settings)
        self.file: StreamFile = parse(streams, "the streams of the test")
        self.cluster = Cluster(settings)
        self.registry = Registry(settings)
        self._producer = Producer(producer_config(settings))
        TopicAdmin(settings, self.file.streams.values()).create()

    def apply(self, streams: str = "", at_us: int | None = None, *, now_us: int = 0) -> list[Change]:
        """Bring the stream file (or another text of one) into force."""
        if streams:
            self.file = parse(streams, "the streams of the test")
        kept = partial(clock_states, self.cluster, self.names)
        states = Definitions(self.settings, self.registry, kept, now_us=lambda: now_us)
        return [states.apply(definition, at_us) for definition in self.file.streams.values()]

    def context(self, worker: str) -> Context:
        return Context(settings=self.settings, file=self.file, health=Health(worker))

    def send(self, clock: str, values: Sequence[bytes], headers: Headers | None = None) -> None:
        """Write to a raw partition; durable when it returns."""
        topic, partition = self.names.raw_place(clock)
        for value in values:
            self._producer.produce(topic, value, partition=partition, headers=headers or [])
        assert self._producer.flush(WAIT_S) == 0

    def send_items(self, clock: str, items: Sequence[dict[str, object]]) -> None:
        self.send(clock, [json.dumps(item).encode() for item in items])

    def raw(self, clock: str) -> list[RawRecord]:
        """What a raw partition holds, as the folds see it."""
        topic, partition = self.names.raw_place(clock)
        _, source = self.names.source_of(topic)
        return raw_records(read_back(self.settings, topic, partition, 0), position=0, source=source)

    def slices(self, topic: str) -> list[SignalSlice]:
        """Every slice in `signals`."""
        return [
            decode(message.value() or b"", SignalSlice)
            for partition in range(self.names.signal_partitions)
            for message in read_back(self.settings, topic, partition, 0)
        ]

    def scores(self) -> list[ScoreSlice]:
        """Every slice in `scores`."""
        return [
            decode(message.value() or b"", ScoreSlice)
            for partition in range(self.names.signal_partitions)
            for message in read_back(self.settings, self.names.scores, partition, 0)
        ]

    def covered(self, worker: str, topic: str, partition: int) -> int:
        """The offset up to which a group has committed a partition; -1 for none."""
        for place, found in self.cluster.committed(self.names.group(worker)).items():
            if place == (topic, partition):
                return found.offset
        return -1


@contextmanager
def running(run: Callable[[Context], None], context: Context) -> Iterator[Context]:
    """A worker on a thread, until the block ends; its error is raised here."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run(context)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name=run.__module__, daemon=True)
    thread.start()
    try:
        yield context
    finally:
        context.stop.set()
        thread.join(30)
        if errors:
            raise errors[0]
        assert not thread.is_alive(), f"{run.__module__} did not stop"
