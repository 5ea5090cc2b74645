"""Streams with planted bursts: what scorers would write of them to `tallies`, and the transitions that must follow."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline import streams
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.kafka.client import producer_config
from pipeline.kafka.names import Names
from pipeline.kafka.registry import Registry
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.records import RawRecord, ScoreSlice, TallyBatch, TallySlice, Transition, decode, encode
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.settings import Settings
from pipeline.streams import Definition, Turn, adapted
from pipeline.tallies import EXEMPLAR_CHARACTERS, EXEMPLARS, Tallier

NOW_US = 20_000 * DAY_US
#: One of those that take the most bytes.
CHARACTER = "\U0001f525"

Identity = tuple[str, int]


@dataclass
class Planted:
    """Streams, each with a change of its definition in the middle of a burst."""

    turns: list[Turn] = field(default_factory=list)
    scored: list[ScoreSlice] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    @classmethod
    def streams(cls, number: int, *, minutes: int = 60, seed: int = 0) -> Planted:
        made = cls()
        for n in range(number):
            made._add(f"s{n}", minutes, random.Random(seed * 1000 + n))
        # The streams take turns, as they do in a topic.
        of: dict[str, list[ScoreSlice]] = defaultdict(list)
        for one in made.scored:
            of[one.slice.stream].append(one)
        choose = random.Random(seed)
        made.scored = []
        while of:
            name = choose.choice(sorted(of))
            made.scored.append(of[name].pop(0))
            if not of[name]:
                del of[name]
        return made

    @classmethod
    def wide(cls, hosts: int) -> Planted:
        """One stream, whose burst is on so many hosts, each with all the evidence that there can be."""
        made = cls()
        made._add("wide", 50, random.Random(0), hosts=hosts, evidence=EXEMPLARS)
        return made

    @property
    def expected(self) -> dict[Identity, set[bytes]]:
        return by_identity(self.transitions)

    def definition_of(self, slice: TallySlice | ScoreSlice) -> Definition:
        one = slice.slice if isinstance(slice, ScoreSlice) else slice
        return next(t.definition for t in self.turns if (t.definition.name, t.name) == (one.stream, one.definition))

    def batches(self, buckets: int, *, size: int = 4) -> list[list[TallyBatch]]:
        """For each transaction of a scorer one batch a bucket."""
        made = []
        for begin in range(0, len(self.scored), size):
            shares: list[list[TallySlice]] = [[] for _ in range(buckets)]
            for one in self.scored[begin : begin + size]:
                for slice in Tallier(self.definition_of(one), buckets).tally(one):
                    shares[slice.bucket].append(slice)
            made.append([TallyBatch(bucket, share) for bucket, share in enumerate(shares)])
        return made

    def deploy(self, settings: Settings) -> None:
        """Make the topics and announce the definitions."""
        TopicAdmin(settings, []).create()
        registry = Registry(settings)
        for turn in self.turns:
            registry.write_turn(turn)

    def _add(self, name: str, minutes: int, choose: random.Random, *, hosts: int = 3, evidence: int = 0) -> None:
        """In a burst each host has `evidence` texts, as long as they are shown; 0: ten short ones."""
        first = Definition(
            name=name,
            kind="logs",
            tick_us=MINUTE_US,
            lateness_us=2 * MINUTE_US,
            clock="data",
            group=("source",),
            member=("host",),
            clocks=(f"{name}/a/0", f"{name}/b/0"),
        )
        turns = [Turn(1, first), Turn(2, adapted(first, q=0.05))]
        bad, good = _texts(first.threshold)
        long = _long(first.threshold, evidence)
        queues: dict[str, list[RawRecord]] = {}
        for clock in first.clocks:
            records: list[RawRecord] = []
            position = 0
            for minute in range(minutes):
                if minute == minutes - 22:
                    note = streams.to_note(turns[1])
                    records.append(RawRecord(position, NOW_US + DAY_US, kind="define", note=note))
                    position += 1
                burst = minutes - 26 <= minute < minutes - 20
                payloads = []
                for i in range(hosts * (evidence or 10) if burst else 4):
                    is_bad = burst or choose.random() < 0.2
                    said = long[i // hosts] if burst and long else bad
                    item = {
                        "time": to_iso(NOW_US + minute * MINUTE_US + i * 1_000_000 % MINUTE_US),
                        "text": said if is_bad else good,
                        "source": "ab"[i % 2],
                        "host": f"h{i % hosts}",
                    }
                    payloads.append(json.dumps(item).encode())
                records.append(RawRecord(position, NOW_US + DAY_US, payloads=payloads))
                position += len(payloads)
            records.append(RawRecord(position, NOW_US + DAY_US, kind="leave"))
            queues[clock] = records
        flow = StreamFlow(first, run="live", buckets=1)
        scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=999)
        for clock in queues:
            flow.open(clock, turns[0])
        while queues:
            clock = choose.choice(sorted(queues))
            scored, transitions = fold_records(flow, scorer, clock, [queues[clock].pop(0)])
            self.scored += scored
            self.transitions += transitions
            if not queues[clock]:
                del queues[clock]
        self.turns += turns


def _texts(threshold: float) -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    bad = [engine.score(engine.encode([word], "logs"))[0].probability >= threshold for word in words]
    return words[bad.index(True)], words[bad.index(False)]


def _long(threshold: float, count: int) -> list[str]:
    """So many bad texts, of the most bytes that are shown of one."""
    engine = NullEngine()
    texts = (f"{n} {CHARACTER * EXEMPLAR_CHARACTERS}"[:EXEMPLAR_CHARACTERS] for n in itertools.count())
    bad = (text for text in texts if engine.score(engine.encode([text], "logs"))[0].probability >= threshold)
    return list(itertools.islice(bad, count))


def by_identity(transitions: Iterable[Transition]) -> dict[Identity, set[bytes]]:
    """The bytes of each transition; more than one value would be a contradiction."""
    found: dict[Identity, set[bytes]] = defaultdict(set)
    for transition in transitions:
        found[transition.id, transition.sequence].add(encode(transition))
    return found


class Feed:
    """A scorer that writes to `tallies` in transactions, some of which it aborts first."""

    def __init__(self, settings: Settings, *, abort: float = 0.2, seed: int = 0) -> None:
        self._topic = Names.of(settings).tallies
        self._abort = abort
        self._choose = random.Random(seed)
        own = {"transactional.id": uuid.uuid4().hex, "delivery.timeout.ms": 30_000, "transaction.timeout.ms": 60_000}
        self._producer = Producer(producer_config(settings) | own)
        self._producer.init_transactions()

    def send(self, shares: Iterable[TallyBatch]) -> None:
        """One transaction."""
        values = [(share.bucket, encode(share)) for share in shares]
        while True:
            self._producer.begin_transaction()
            for bucket, value in values:
                self._producer.produce(self._topic, partition=bucket, value=value)
            self._producer.flush()
            if self._choose.random() >= self._abort:
                self._producer.commit_transaction()
                return
            self._producer.abort_transaction()


class Surges:
    """What is in `surges`, read as it comes."""

    def __init__(self, settings: Settings) -> None:
        names = Names.of(settings)
        config = {"group.id": uuid.uuid4().hex, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        self._consumer = Consumer({"bootstrap.servers": settings.kafka, **config})
        self._consumer.assign([TopicPartition(names.surges, n, 0) for n in range(names.signal_partitions)])
        self.found: list[Transition] = []

    def wait(self, enough: Callable[[list[Transition]], bool], *, seconds: float) -> list[Transition]:
        """Read until it is enough, and for `seconds` at the most."""
        from time import monotonic

        deadline = monotonic() + seconds
        while not enough(self.found) and monotonic() < deadline:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.found.append(decode(message.value() or b"", Transition))
        return self.found

    def close(self) -> None:
        self._consumer.close()
