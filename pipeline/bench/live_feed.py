"""The feed of the latency bench: items that happen now, some groups of which burst in every tick."""

from __future__ import annotations

import json
import random
import threading
import time

from confluent_kafka import KafkaError, Producer

from pipeline.bench.feed import BAD, FINE
from pipeline.clock import now_us
from pipeline.errors import TocsinError
from pipeline.instants import to_iso
from pipeline.kafka.client import producer_config
from pipeline.kafka.names import Names
from pipeline.settings import Settings

STREAM, SOURCE = "live", "push"
#: Items a second, over so many groups, of which so many burst at once.
RATE, GROUPS, BURSTING = 500, 1000, 8
#: Share of the items that belong to the groups that burst.
_SHARE = 0.4
#: Ticks of a second without bursts, in which what is usual is learned; ticks that a burst lasts.
LEARNING_S, BURST_S = 20, 2

STREAMS = f"""
[streams.{STREAM}]
kind = "news"
tick = "1s"
lateness = "0s"
clock = "arrival"
group = ["source"]
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


class LiveFeed(threading.Thread):
    """Feeds the raw topic until `finish` is called."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="feed", daemon=True)
        self._names = Names.of(settings)
        self._producer = Producer(producer_config(settings))
        self._draw = random.Random(11)
        self._finish = threading.Event()
        self._failed: list[KafkaError] = []
        self.sent = 0
        self.error: BaseException | None = None

    def finish(self) -> None:
        self._finish.set()

    def run(self) -> None:
        try:
            began_s = time.monotonic()
            while not self._finish.is_set():
                self._send(time.monotonic() - began_s)
                self._producer.poll(0)
                ahead_s = self.sent / RATE - (time.monotonic() - began_s)
                if ahead_s > 0:
                    time.sleep(ahead_s)
            if self._producer.flush(30) or self._failed:
                raise TocsinError(f"the feed could not write everything: {self._failed[:1]}")
        except BaseException as error:
            self.error = error

    def _send(self, elapsed_s: float) -> None:
        draw = self._draw
        bad, group = draw.random() < 0.04, draw.randrange(GROUPS)
        if elapsed_s > LEARNING_S and draw.random() < _SHARE:
            bad, group = True, self._bursting(int(elapsed_s) // BURST_S)[draw.randrange(BURSTING)]
        # Not by chance: each partition must reach the end of a tick soon.
        partition = self.sent % self._names.raw_partitions
        item = {"time": to_iso(now_us()), "text": draw.choice(BAD if bad else FINE), "source": f"service{group}"}
        self.sent += 1
        self._producer.produce(
            self._names.raw(STREAM, SOURCE),
            json.dumps(item).encode(),
            partition=partition,
            on_delivery=lambda error, _: self._failed.append(error) if error else None,
        )

    def _bursting(self, turn: int) -> list[int]:
        """The groups that burst in a turn. Each bursts once in minutes: a burst that comes again and again is usual."""
        return [(turn * BURSTING + n) % GROUPS for n in range(BURSTING)]
