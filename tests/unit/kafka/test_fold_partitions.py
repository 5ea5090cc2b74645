"""Bucket and judge partitions: whatever is delivered how often, whoever dies and comes back, the same transitions."""

from __future__ import annotations

import functools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import streams
from pipeline.errors import LogLost, StateMismatch
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.kafka.bucket_partition import BucketPartition, records_of
from pipeline.kafka.fold_partition import REFRESH_OFFSETS
from pipeline.kafka.judge_partition import JudgePartition
from pipeline.records import (
    FoldRow,
    RawRecord,
    ScoreSlice,
    TallyBatch,
    TallySlice,
    Transition,
    Verdict,
    VerdictBatch,
    decode,
    encode,
)
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn, adapted
from pipeline.tallies import Tallier

NOW_US = 20_000 * DAY_US
A = Definition(
    name="s",
    kind="logs",
    tick_us=MINUTE_US,
    lateness_us=2 * MINUTE_US,
    clock="data",
    group=("source",),
    member=("host",),
    clocks=("s/p", "s/q"),
)
B = adapted(A, q=0.05)
GENERATIONS = {A.version: A, f"{B.version}.2": B}
TOPIC = "topic-id"


def definition_of(stream: str, generation: str) -> Definition:
    assert stream == "s"
    return GENERATIONS[generation]


def texts() -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    bad = [engine.score(engine.encode([word], "logs"))[0].probability >= A.threshold for word in words]
    return words[bad.index(True)], words[bad.index(False)]


def entries() -> dict[str, list[RawRecord]]:
    """Two partitions: quiet minutes and a burst, a change of definition in the middle of it, and another burst."""
    bad, good = texts()
    made: dict[str, list[RawRecord]] = {}
    for n, partition in enumerate(A.clocks):
        records: list[RawRecord] = []
        position = 0
        for minute in range(80):
            if minute == 44:
                note = streams.to_note(Turn(2, B))
                records.append(RawRecord(position, NOW_US + DAY_US, kind="define", note=note))
                position += 1
            burst = 40 <= minute < 46 or minute >= 76
            payloads = []
            for i in range(40 if burst else 4):
                item = {
                    "time": to_iso(NOW_US + minute * MINUTE_US + i * 1_000_000),
                    "text": bad if burst or (minute * 7 + i + n) % 5 == 0 else good,
                    "source": "ab"[i % 2],
                    "host": f"h{i % 3}",
                }
                payloads.append(json.dumps(item).encode())
            records.append(RawRecord(position, NOW_US + DAY_US, payloads=payloads))
            position += len(payloads)
        records.append(RawRecord(position, NOW_US + DAY_US, kind="leave"))
        made[partition] = records
    return made


@functools.cache
def straight(order_seed: int) -> tuple[list[ScoreSlice], list[Transition]]:
    """The scored slices in some order of the partitions, and the transitions of the whole flow on them."""
    flow = StreamFlow(A, run="live", buckets=1)
    scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=999)
    queues = entries()
    for partition in queues:
        flow.open(partition, Turn(1, A))
    order = random.Random(order_seed)
    scored: list[ScoreSlice] = []
    transitions: list[Transition] = []
    while queues:
        name = order.choice(sorted(queues))
        taken, queues[name] = queues[name][:2], queues[name][2:]
        if not queues[name]:
            del queues[name]
        new, caused = fold_records(flow, scorer, name, taken)
        scored += new
        transitions += caused
    return scored, transitions


def by_identity(transitions: Iterable[Transition]) -> dict[tuple[str, int], set[bytes]]:
    found: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for transition in transitions:
        found[transition.id, transition.sequence].add(encode(transition))
    return found


@dataclass
class Table:
    """What was ever written under each key, oldest first."""

    history: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def newest(self) -> list[bytes]:
        return [versions[-1] for versions in self.history.values()]

    def any_mixture(self, choose: random.Random) -> list[bytes]:
        return [choose.choice(versions) for versions in self.history.values()]


Log = list[tuple[int, Any]]


@dataclass
class Worker:
    """One process that has the partition, or believes so; `fetched` is the position of its reader."""

    log: Log
    partition: BucketPartition | JudgePartition
    fetched: int = 0

    def __post_init__(self) -> None:
        self.fetched = self.partition.next

    @property
    def coming(self) -> int:
        """The index of the next record."""
        return next((i for i, (offset, _) in enumerate(self.log) if offset >= self.fetched), len(self.log))

    def take(self, index: int) -> list[Any]:
        offset, record = self.log[index]
        before = self.log[index - 1][0] + 1 if index else 0
        after = before if offset < self.fetched else self.fetched
        self.fetched = max(self.fetched, offset + 1)
        return list(self.partition.apply(after, offset, record))

    def lose_one(self) -> None:
        if self.coming < len(self.log):
            self.fetched = self.log[self.coming][0] + 1

    def rewind(self) -> None:
        self.fetched = self.partition.rewind()

    def save(self, table: Table, most: int | None = None) -> None:
        rows = self.partition.unsaved()
        for row in rows[:most]:
            table.history[row.key].append(row.value)
        if most is None:
            self.partition.saved(rows)


ACTIONS = [
    *["take"] * 6,
    *["take many"] * 3,
    *["repeat", "lose", "rewind", "save", "save", "die saving", "die", "die and mix", "freeze", "thaw"],
]


def live_through(
    log: Log, open: Callable[[list[bytes]], BucketPartition | JudgePartition], actions: list[str], seed: int
) -> list[Any]:
    """Everything that the partition's owners send while `actions` happen to them and until all is read."""
    choose = random.Random(seed)
    table = Table()
    sent: list[Any] = []
    worker = Worker(log, open([]))
    frozen: Worker | None = None
    for action in actions:
        if action == "take" and worker.coming < len(log):
            sent += worker.take(worker.coming)
        elif action == "take many":
            for _ in range(choose.randrange(3, 40)):
                if worker.coming < len(log):
                    sent += worker.take(worker.coming)
        elif action == "repeat" and worker.coming:
            sent += worker.take(choose.randrange(worker.coming))
        elif action == "lose":
            worker.lose_one()
        elif action == "rewind":
            worker.rewind()
        elif action == "save":
            worker.save(table)
        elif action == "die saving":
            worker.save(table, most=choose.randrange(3))
            worker = Worker(log, open(table.newest()))
        elif action == "die":
            worker = Worker(log, open(table.newest()))
        elif action == "die and mix":
            worker = Worker(log, open(table.any_mixture(choose)))
        elif action == "freeze":
            frozen, worker = worker, Worker(log, open(table.newest()))
        elif action == "thaw" and frozen is not None:
            for _ in range(choose.randrange(20)):
                if frozen.coming < len(log):
                    sent += frozen.take(frozen.coming)
            frozen.save(table, most=choose.choice([None, 1]))
    for _ in range(20):
        while worker.coming < len(log):
            sent += worker.take(worker.coming)
        if not (worker.partition.gap or worker.partition.jumped or worker.fetched > worker.partition.next):
            return sent
        worker.rewind()
    raise AssertionError(f"reading again does not help: {worker.partition.gap}")


def numbered(records: Iterable[Any], choose: random.Random) -> Log:
    """Records with offsets as Kafka gives them: markers and aborted records leave holes."""
    log: Log = []
    offset = 0
    for record in records:
        offset += choose.choice([1, 1, 1, 2, 5])
        log.append((offset, record))
    return log


def batches(scored: list[ScoreSlice], bucket: int, buckets: int, choose: random.Random) -> list[TallyBatch]:
    """What scorers would send to a bucket: slices in batches."""
    slices = [
        slice
        for one in scored
        for slice in Tallier(definition_of("s", one.slice.definition), buckets).tally(one)
        if slice.bucket == bucket
    ]
    made: list[TallyBatch] = []
    while slices:
        size = choose.choice([1, 1, 2, 3, 7])
        made.append(TallyBatch(bucket, slices[:size]))
        slices = slices[size:]
    return made


@settings(max_examples=60)
@given(
    order_seed=st.integers(0, 3),
    buckets=st.integers(1, 3),
    actions=st.lists(st.lists(st.sampled_from(ACTIONS), max_size=60), min_size=4, max_size=4),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_to_the_workers_the_transitions_are_those_of_one_flow(
    order_seed: int, buckets: int, actions: list[list[str]], seed: int
) -> None:
    scored, expected = straight(order_seed)
    assert {"opened", "resolved"} <= {t.state for t in expected}
    choose = random.Random(seed)
    said: list[list[Any]] = []
    for bucket in range(buckets):
        log = numbered(batches(scored, bucket, buckets, choose), choose)

        def open_bucket(rows: list[bytes], bucket: int = bucket) -> BucketPartition:
            return BucketPartition(bucket, TOPIC, definition_of, rows)

        said.append(live_through(log, open_bucket, actions[bucket], seed))
    verdicts = []
    while any(said):
        verdicts.append(choose.choice([one for one in said if one]).pop(0))

    def open_judge(rows: list[bytes]) -> JudgePartition:
        return JudgePartition(0, TOPIC, definition_of, run="live", buckets=buckets, rows=rows)

    got = by_identity(live_through(numbered(verdicts, choose), open_judge, actions[3], seed))
    assert all(len(versions) == 1 for versions in got.values())
    assert got == by_identity(expected)


def slice_of(partition: str, start: int, end: int, minute: int, **changes: Any) -> TallySlice:
    made: dict[str, Any] = {
        "stream": "s",
        "definition": A.version,
        "bucket": 0,
        "partition": partition,
        "start": start,
        "end": end,
        "begins": start == 0,
        "watermark_us": NOW_US + minute * MINUTE_US,
        "touched": [A.ticks.index(NOW_US + minute * MINUTE_US)],
        "model": "m",
        "tallies": {},
    }
    return TallySlice(**(made | changes))


def begun() -> BucketPartition:
    """A bucket in which both clocks have begun, at offset 1."""
    partition = BucketPartition(0, TOPIC, definition_of)
    partition.apply(0, 1, TallyBatch(0, [slice_of("s/p", 0, 1, 0), slice_of("s/q", 0, 1, 0)]))
    return partition


def test_a_gap_in_the_middle_of_a_record_loses_no_verdict_and_holds_the_fold_where_it_is() -> None:
    partition = begun()
    said = partition.apply(
        2,
        2,
        TallyBatch(0, [slice_of("s/p", 1, 2, 9), slice_of("s/q", 1, 2, 9), slice_of("s/p", 5, 6, 9)]),
    )
    assert [batch.verdicts[0].gap for batch in said] == [False]
    assert partition.gap is not None
    assert partition.gap.expected == 2
    assert partition.apply(3, 3, TallyBatch(0, [slice_of("s/q", 2, 3, 20)])) == []
    assert (partition.position, partition.next) == (2, 4)
    assert partition.rewind() == 2
    assert partition.gap is None


def test_a_record_that_does_not_follow_is_not_taken_until_what_was_left_out_is_read() -> None:
    partition = begun()
    late = TallyBatch(0, [slice_of("s/q", 1, 2, 9)])
    assert partition.apply(3, 3, late) == []
    assert partition.jumped
    assert partition.position == 2
    partition.apply(2, 2, TallyBatch(0, [slice_of("s/p", 1, 2, 9)]))
    assert not partition.jumped
    assert partition.apply(3, 3, late)
    assert partition.apply(3, 3, late) == []  # a repetition
    assert partition.position == 4


def test_a_new_fold_is_saved_before_any_other() -> None:
    partition = begun()
    rows = partition.unsaved()
    assert [row.first for row in rows] == [True]
    partition.saved(rows)
    other = f"{B.version}.2"
    partition.apply(
        2,
        2,
        TallyBatch(0, [slice_of("s/p", 1, 2, 3), slice_of("s/p", 2, 3, 3, definition=other, begins=True)]),
    )
    rows = partition.unsaved()
    assert [(row.name[1], row.first, row.position) for row in rows] == [(other, True, 3), (A.version, False, 3)]
    assert partition.unsaved() == []


def test_a_fold_at_rest_does_not_hold_the_partition_back_for_ever() -> None:
    partition = begun()
    partition.saved(partition.unsaved())
    assert partition.saved_position == 2
    for offset in range(2, REFRESH_OFFSETS + 3):
        assert partition.unsaved() == []
        partition.apply(offset, offset, TallyBatch(0, []))
    rows = partition.unsaved()
    assert [row.position for row in rows] == [REFRESH_OFFSETS + 3]
    partition.saved(rows)
    partition.apply(REFRESH_OFFSETS + 3, REFRESH_OFFSETS + 3, TallyBatch(0, []))
    assert partition.unsaved() == []
    assert [row.position for row in partition.unsaved(everything=True)] == [REFRESH_OFFSETS + 4]


def test_a_generation_that_is_over_leaves_a_row_without_state_and_is_never_begun_again() -> None:
    partition = begun()
    ends = [slice_of(clock, 1, 2, 30, ends=True) for clock in A.clocks]
    said = partition.apply(2, 2, TallyBatch(0, ends))
    assert [batch.verdicts[-1].ends for batch in said] == [True]
    (row,) = partition.unsaved()
    saved = decode(row.value, FoldRow)
    assert (saved.over, saved.state, saved.position) == (True, b"", 3)
    again = BucketPartition(0, TOPIC, definition_of, [row.value])
    assert again.apply(3, 3, TallyBatch(0, [slice_of("s/p", 0, 1, 0), *ends])) == []
    assert again.gap is None
    assert again.position == 4


def test_a_fold_whose_row_is_gone_asks_for_all_there_is_and_begins_nowhere_else() -> None:
    partition = BucketPartition(0, TOPIC, definition_of, [encode(FoldRow("s", f"{B.version}.2", TOPIC, 40, True, b""))])
    assert partition.position == 40
    assert partition.apply(40, 40, TallyBatch(0, [slice_of("s/p", 7, 8, 0)])) == []
    assert partition.gap is not None
    assert partition.rewind() == 0
    assert [row.name[1] for row in partition.unsaved(everything=True)] == [f"{B.version}.2"]


def test_a_judge_whose_row_is_gone_does_not_begin_in_the_middle() -> None:
    buckets = begun()
    first = buckets.apply(2, 2, TallyBatch(0, [slice_of(clock, 1, 2, 9) for clock in A.clocks]))
    second = buckets.apply(3, 3, TallyBatch(0, [slice_of(clock, 2, 3, 20) for clock in A.clocks]))
    assert [batch.begins for batch in (*first, *second)] == [True, False]
    judges = JudgePartition(0, TOPIC, definition_of, run="live", buckets=1)
    assert judges.apply(0, 5, second[0]) == []
    assert judges.gap is not None
    assert judges.rewind() == 0
    judges.apply(0, 4, first[0])
    judges.apply(5, 5, second[0])
    assert judges.gap is None
    assert judges.position == 6


def test_what_stays_missing_is_looked_for_from_the_start_once() -> None:
    partition = begun()
    hole = TallyBatch(0, [slice_of("s/p", 5, 6, 9)])
    partition.apply(2, 2, hole)
    assert partition.rewind() == 2
    partition.apply(2, 2, hole)
    assert partition.rewind_to_start()
    assert partition.rewind() == 0
    partition.apply(0, 1, TallyBatch(0, []))
    partition.apply(2, 2, hole)
    assert not partition.rewind_to_start()


def test_a_row_that_counts_in_another_topic_is_refused() -> None:
    partition = begun()
    with pytest.raises(LogLost, match="a topic that is gone"):
        BucketPartition(0, "another id", definition_of, [row.value for row in partition.unsaved()])


def test_a_record_of_another_bucket_is_refused() -> None:
    with pytest.raises(StateMismatch, match="TOCSIN_BUCKETS"):
        BucketPartition(0, TOPIC, definition_of).apply(0, 0, TallyBatch(1, []))


def test_a_large_batch_of_verdicts_becomes_several_records_of_which_the_first_begins() -> None:
    verdicts = [Verdict("s", A.version, 0, tick, tick, False, 0, []) for tick in range(1000)]
    records = records_of(VerdictBatch("s", A.version, 0, verdicts, True), 1000)
    assert len(records) > 10
    assert max(map(len, records)) <= 1000
    batches = [decode(record, VerdictBatch) for record in records]
    assert [verdict for batch in batches for verdict in batch.verdicts] == verdicts
    assert [batch.begins for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert records_of(VerdictBatch("s", A.version, 0, verdicts[:1]), 1) == [
        encode(VerdictBatch("s", A.version, 0, verdicts[:1]))
    ]
