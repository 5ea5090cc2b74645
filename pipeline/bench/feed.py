"""The feed of the exactness bench: made-up items with bursts, late ones and duplicates, at a steady pace.

Event time runs by its own clock, much faster than the wall. Each group has its raw partition, so the items of a
partition come nearly in order; one in twenty is late, one in twenty a duplicate.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaError, Producer
from xxhash import xxh64_intdigest

from pipeline.bench.pusher import Pusher
from pipeline.errors import TocsinError
from pipeline.kafka import wire
from pipeline.kafka.client import producer_config
from pipeline.kafka.names import Names
from pipeline.settings import Settings

STREAM = "ops"
SOURCE = "push"
GROUPS = 24
HOSTS = 4
LEARNING_TICKS = 15
#: Items of each group in a tick, outside bursts.
USUAL = 3
BURST = 25

STREAMS = f"""
[streams.{STREAM}]
kind = "news"
tick = "1m"
lateness = "1m"
clock = "data"
group = ["source"]
member = ["host"]
overall = false
silence = "zero"
drops = false
count = "number"
threshold = 0.9
stories = false
[[streams.{STREAM}.sources]]
name = "{SOURCE}"
kind = "push"
"""

_WORDS = (
    *("disk", "link", "page", "queue", "cache", "index", "shard", "lease"),
    *("batch", "token", "route", "proxy", "mount", "block", "stack", "frame"),
)
_VERBS = (
    *("failed", "stalled", "dropped", "timed", "refused", "opened"),
    *("closed", "moved", "synced", "served", "merged", "flushed", "waited"),
)


def is_bad(text: str) -> bool:
    """What the null engine says of a text, threshold .9, written down once more."""
    return (xxh64_intdigest(text.encode()) >> 11) / 2**53 >= 0.9


_TEXTS = [f"{a} {b} {c}" for a in _WORDS for b in _VERBS for c in _WORDS]
BAD = [text for text in _TEXTS if is_bad(text)]
FINE = [text for text in _TEXTS if not is_bad(text)]


class Feed(threading.Thread):
    """Feeds the raw topic until `finish` is called; then closes every tick and ends."""

    def __init__(
        self, settings: Settings, *, seed: int, rate: float, most: int = 0, pusher: Pusher | None = None
    ) -> None:
        """`rate` items a second of the wall clock; at most `most` items (0: until `finish`). One in twenty goes by way
        of `pusher`, where there is one."""
        super().__init__(name="feed", daemon=True)
        self._names = Names.of(settings)
        self._topic = self._names.raw(STREAM, SOURCE)
        self._producer = Producer(producer_config(settings) | {"linger.ms": 5, "delivery.timeout.ms": 900_000})
        self._draw = random.Random(seed)
        self._rate = rate
        self._most = most
        self._pusher = pusher
        self._finish = threading.Event()
        self._failed: list[KafkaError] = []
        self.sent = 0
        self.bursts = 0
        self.error: BaseException | None = None

    def finish(self) -> None:
        self._finish.set()

    def run(self) -> None:
        try:
            began_s = time.monotonic()
            last = 0
            for tick, items in enumerate(self._ticks()):
                last = tick
                for partition, item in items:
                    payload = json.dumps(item).encode()
                    if self._pusher is not None and self._draw.random() < 0.05:
                        self._pusher.push(item["id"], payload)
                    else:
                        self._send(partition, payload)
                    self.sent += 1
                    ahead_s = self.sent / self._rate - (time.monotonic() - began_s)
                    if ahead_s > 0.01:
                        time.sleep(ahead_s)
                if self._finish.is_set() or (self._most and self.sent >= self._most):
                    break
            if self._pusher is not None and not self._pusher.finish(180):
                raise TocsinError("what was pushed over HTTP was not acknowledged in three minutes")
            # Beyond every open tick and every surge that waits to be over.
            end_us = int(_at(last + 30).timestamp()) * 1_000_000
            for partition in range(self._names.raw_partitions):
                value, headers = wire.heartbeat(end_us)
                self._send(partition, value, headers)
            if self._producer.flush(120) or self._failed:
                raise TocsinError(f"the feed could not write everything: {self._failed[:1]}")
        except BaseException as error:
            self.error = error

    def _send(self, partition: int, value: bytes, headers: wire.Headers | None = None) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, value, partition=partition, headers=headers or [], on_delivery=self._delivered
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, message: object) -> None:
        if error is not None:
            self._failed.append(error)

    def _ticks(self) -> Iterator[list[tuple[int, dict[str, str]]]]:
        """The items of each tick with their partitions, for ever."""
        draw, number = self._draw, 0
        recent: list[deque[dict[str, str]]] = [deque(maxlen=400) for _ in range(self._names.raw_partitions)]
        bursting: dict[int, int] = {}  # group: ticks left
        tick = 0
        while True:
            if tick > LEARNING_TICKS and draw.random() < 0.35 and len(bursting) < 4:
                group = draw.randrange(GROUPS)
                if group not in bursting:
                    bursting[group] = draw.choice((1, 2, 3))
                    self.bursts += 1
            items = []
            for group in range(GROUPS):
                partition = group % self._names.raw_partitions
                count = sum(draw.random() < 0.5 for _ in range(2 * USUAL))
                texts = [draw.choice(BAD if draw.random() < 0.04 else FINE) for _ in range(count)]
                if group in bursting:
                    texts += [draw.choice(BAD) for _ in range(BURST)]
                for text in texts:
                    odd = draw.random()
                    if odd < 0.05 and recent[partition]:
                        items.append((tick + 0.5, partition, draw.choice(recent[partition])))
                        continue
                    when = tick + draw.random() - (draw.uniform(4, 9) if odd > 0.95 else 0)
                    number += 1
                    item = {
                        "id": f"{number}",
                        "time": _at(when).isoformat(),
                        "text": text,
                        "source": f"service{group}",
                        "host": f"h{draw.randrange(HOSTS)}",
                    }
                    recent[partition].append(item)
                    items.append((tick + draw.random(), partition, item))
            bursting = {group: left - 1 for group, left in bursting.items() if left > 1}
            items.sort(key=lambda one: (one[0], one[2]["id"]))
            yield [(partition, item) for _, partition, item in items]
            tick += 1


def _at(minute: float) -> datetime:
    return datetime(2024, 5, 6, tzinfo=UTC) + timedelta(minutes=minute)
