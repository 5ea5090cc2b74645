"""A stream's history for tests: three days of two clocks with a burst on two of them, ingested, scored and written to
the score log as the workers write it: in transactions, some of them aborted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Producer

from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, to_iso
from pipeline.kafka.client import producer_config
from pipeline.kafka.names import Names
from pipeline.kafka.registry import Registry
from pipeline.records import RawRecord, ScoreSlice, Transition, encode
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.settings import Settings
from pipeline.streams import Definition, Turn

#: The clocks of its two sources lie in both of two partitions.
STREAMS = """
[streams.logs]
kind = "logs"
tick = "1h"
lateness = "10m"
clock = "data"
group = ["source"]
member = ["host"]

[[streams.logs.sources]]
name = "web"
kind = "push"

[[streams.logs.sources]]
name = "shop"
kind = "push"
"""

#: Midnight, UTC.
START_US = 20_000 * DAY_US
RECEIVED_US = START_US + 30 * DAY_US
HOURS = 72


def texts(definition: Definition) -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine, words = NullEngine(), [f"word {chr(97 + n)}" for n in range(26)]
    bad = [engine.score(engine.encode([w], "logs"))[0].probability >= definition.threshold for w in words]
    return words[bad.index(True)], words[bad.index(False)]


@dataclass
class History:
    """What became of a history: slices in the order in which they were written, and the transitions of live."""

    definition: Definition
    slices: list[ScoreSlice] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    @property
    def signals(self) -> list[tuple[str, int]]:
        """The place of each signal, sorted."""
        return sorted((one.slice.partition, s.position) for one in self.slices for s in one.slice.signals)


def make_history(names: Names, definition: Definition, *, hours: int = HOURS, run: str = "live") -> History:
    """Fold and score; bursts in the hours 30 to 32 and 60 to 62, and in each hour an item of a day before."""
    definition = names.defined(definition)
    history = History(definition)
    flow = StreamFlow(definition, run=run, buckets=names.buckets)
    for clock in definition.clocks:
        flow.open(clock, Turn(1, definition))
    scorer = Scorer(NullEngine(), cache_entries=99, batch_tokens=999)
    positions = dict.fromkeys(definition.clocks, 0)
    bad, good = texts(definition)
    for hour in range(hours):
        for clock in definition.clocks:
            payloads = list(_items(clock, hour, bad, good))
            record = RawRecord(positions[clock], RECEIVED_US, payloads=payloads, source=clock.split("/")[1])
            beat = RawRecord(record.end, RECEIVED_US, kind="heartbeat", time_us=START_US + (hour + 1) * HOUR_US)
            positions[clock] = beat.end
            for one in (record, beat):
                scored, transitions = fold_records(flow, scorer, clock, [one])
                history.slices += scored
                history.transitions += transitions
    return history


def _items(clock: str, hour: int, bad: str, good: str) -> Iterator[bytes]:
    burst = hour % 30 < 3 and hour >= 30
    for n in range(60 if burst else 6):
        text = bad if burst or (hour * 7 + n) % 5 == 0 else good
        time_us = START_US + hour * HOUR_US + n * MINUTE_US // 2
        item = {"time": to_iso(time_us), "text": text, "source": "a", "host": f"h{n % 3}", "id": f"{clock}-{hour}-{n}"}
        yield json.dumps(item).encode()
    if hour >= 24:
        yield json.dumps({"time": to_iso(START_US + (hour - 24) * HOUR_US), "text": "much too late"}).encode()
    yield json.dumps({"time": to_iso(START_US), "bad": 1, "total": 3}).encode()


def write_scores(settings: Settings, slices: Sequence[ScoreSlice], *, a_transaction: int = 24) -> None:
    """Write slices to the score log, some in a transaction; each is first written in one that is aborted."""
    names = Names.of(settings)
    transactional = {"transactional.id": f"{names.prefix}.test", "delivery.timeout.ms": 10_000}
    producer = Producer(producer_config(settings) | transactional)
    producer.init_transactions(10)
    for first in range(0, len(slices), a_transaction):
        for commit in (False, True):
            producer.begin_transaction()
            for one in slices[first : first + a_transaction]:
                clock = one.slice.partition
                place = names.signal_partition(clock)
                producer.produce(names.scores, encode(one), partition=place, key=clock.encode())
            if commit:
                producer.commit_transaction(10)
            else:
                producer.flush(10)
                producer.abort_transaction(10)


def write_history(settings: Settings, definition: Definition) -> History:
    """Make a history, its definition known to the registry, and write all of it."""
    history = make_history(Names.of(settings), definition)
    Registry(settings).write_turn(Turn(1, history.definition))
    write_scores(settings, history.slices)
    return history
