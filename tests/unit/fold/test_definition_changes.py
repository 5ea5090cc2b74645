"""Definitions that change in the log, come and go: every item is counted once, whatever is restarted when."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.bucket
from pipeline import streams
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.records import LEFT_US, RawRecord
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn, adapted

NOW_US = 20_000 * DAY_US
A = Definition(name="s", kind="logs", tick_us=MINUTE_US, clock="data", clocks=("s/p", "s/q"))
B = adapted(A, tick_us=2 * MINUTE_US)
WITHOUT_Q = adapted(A, clocks=("s/p",))
CHANGES = {"A": A, "B": B, "without q": WITHOUT_Q}


class CountingDetector:
    """Takes the place of the detector: totals of closed ticks by definition, each tick once a bucket."""

    totals: ClassVar[Counter[str]] = Counter()

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.closed: set[int] = set()

    def close(self, tick: int, counts: Any, *, complete: bool = True) -> tuple[list[Any], int]:
        assert tick not in self.closed
        self.closed.add(tick)
        self.totals[self.definition.version] += sum(total for _, total in counts.values())
        return [], 0

    def to_bytes(self) -> bytes:
        return json.dumps(sorted(self.closed)).encode()

    @classmethod
    def from_bytes(cls, definition: Definition, data: bytes) -> CountingDetector:
        made = cls(definition)
        made.closed = set(json.loads(data))
        return made


def logs(steps: list[str]) -> dict[str, list[RawRecord]]:
    """Two partitions in which the same definitions come into force, with an item a minute in each, and their end.

    A source that is not configured gets no items.
    """
    made: dict[str, list[RawRecord]] = {}
    for partition in ("s/p", "s/q"):
        records: list[RawRecord] = []
        in_force, turn = A, 0
        for n, step in enumerate(["A", *steps]):
            position = records[-1].end if records else 0
            if step in CHANGES:
                turn += CHANGES[step] != in_force or turn == 0
                in_force = CHANGES[step]
                note = streams.to_note(Turn(turn, in_force))
                records.append(RawRecord(position, NOW_US, kind="define", note=note))
            elif partition in in_force.clocks:
                item = json.dumps({"time": to_iso(NOW_US + n * MINUTE_US), "text": "x"}).encode()
                records.append(RawRecord(position, NOW_US + DAY_US, payloads=[item]))
        records.append(RawRecord(records[-1].end, NOW_US, kind="leave"))
        made[partition] = records
    return made


@settings(max_examples=150)
@given(
    steps=st.lists(st.sampled_from(["item", "item", *CHANGES]), max_size=14),
    order=st.lists(st.booleans(), max_size=30),
    restart_every=st.integers(1, 5),
    buckets=st.integers(1, 2),
)
def test_every_item_is_counted_under_the_definition_in_force(
    steps: list[str], order: list[bool], restart_every: int, buckets: int
) -> None:
    expected: Counter[str] = Counter()
    in_force = "A"
    for step in steps:
        in_force = step if step in CHANGES else in_force
        expected[CHANGES[in_force].version] += len(CHANGES[in_force].clocks) * (step == "item")
    queues = logs(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.bucket, "Detector", CountingDetector)
        CountingDetector.totals = Counter()
        scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
        flow = StreamFlow(CHANGES[in_force], run="r", buckets=buckets)
        for partition in queues:
            flow.open(partition, Turn(1, A))
        turn = 0
        while queues:
            names = sorted(queues)
            name = names[-1] if turn < len(order) and order[turn] else names[0]
            fold_records(flow, scorer, name, [queues[name].pop(0)])
            if not queues[name]:
                del queues[name]
            turn += 1
            if turn % restart_every == 0:
                flow = StreamFlow(CHANGES[in_force], run="r", buckets=buckets, states=flow.states())
                for partition in ("s/p", "s/q"):
                    flow.open(partition, Turn(1, A))
        assert +CountingDetector.totals == +expected
    assert sum(flow.open(p).counts.counted for p in ("s/p", "s/q")) == sum(expected.values())
    for partition in ("s/p", "s/q"):
        assert flow.open(partition).watermark_us == LEFT_US


@pytest.mark.parametrize("end", ["leave", "define"])
@pytest.mark.parametrize("first", ["s/p", "s/q"])
@pytest.mark.parametrize("at_once", [False, True])
def test_what_comes_in_a_partition_that_no_tick_waits_for_is_late(end: str, first: str, at_once: bool) -> None:
    note = streams.to_note(Turn(2, WITHOUT_Q)) if end == "define" else ""
    queues: dict[str, list[RawRecord]] = {}
    for partition in ("s/p", "s/q"):
        records = [RawRecord(n, NOW_US + DAY_US, payloads=[_item(n)]) for n in range(5)]
        if end == "define" or partition == "s/q":
            records.append(RawRecord(5, NOW_US + DAY_US, kind="define" if note else "leave", note=note))
        after = range(len(records), 30 if partition == "s/p" else 20)
        records += [RawRecord(n, NOW_US + DAY_US, payloads=[_item(n)]) for n in after]
        queues[partition] = records
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.bucket, "Detector", CountingDetector)
        CountingDetector.totals = Counter()
        flow = StreamFlow(A, run="r", buckets=1)
        scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
        for partition in sorted(queues, key=lambda name: name != first):
            flow.open(partition, Turn(1, A))
        for partition in sorted(queues, key=lambda name: name != first):
            records = queues[partition]
            for chunk in [records] if at_once else [[record] for record in records]:
                fold_records(flow, scorer, partition, chunk)
        # All but the last tick has closed, with the five items of the other partition.
        assert sum(CountingDetector.totals.values()) == (28 if note else 29) + 5
    counts = flow.open("s/q").counts
    assert (counts.counted, counts.late) == (5, 14)


def _item(minute: int) -> bytes:
    return json.dumps({"time": to_iso(NOW_US + minute * MINUTE_US), "text": "x"}).encode()


def test_a_definition_that_comes_back_begins_anew() -> None:
    flow = StreamFlow(A, run="r", buckets=1)
    found = defaultdict(list)
    for record in logs(["item", "B", "A", "item"])["s/p"]:
        for slice in flow.ingest("s/p", [record]):
            found[slice.definition].append((slice.start, slice.begins))
    assert list(found) == [A.version, f"{B.version}.2", f"{A.version}.3"]
    assert found[f"{A.version}.3"][0][1]


def test_states_of_definitions_that_are_over_are_forgotten() -> None:
    flow = StreamFlow(B, run="r", buckets=1)
    scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
    for partition, records in logs(["item", "B", "item", "A", "item", "B", "item"]).items():
        flow.open(partition, Turn(1, A))
        for record in records[:-1]:
            fold_records(flow, scorer, partition, [record])
    assert {name.split("/")[2] for name in flow.states() if name.startswith("bucket/")} == {f"{B.version}.4"}


def test_a_surge_that_is_open_is_resolved_when_its_definition_ends() -> None:
    bad = next(word for word in (f"word {chr(97 + n)}" for n in range(26)) if _is_bad(word))
    p_only = adapted(A, clocks=("s/p",), overall=True)
    payloads = [
        json.dumps({"time": to_iso(NOW_US + minute * MINUTE_US), "text": bad}).encode()
        for minute in range(40)
        for _ in range(60 if minute >= 36 else 2)
    ]
    flow = StreamFlow(adapted(p_only, q=0.05), run="r", buckets=3)
    flow.open("s/p", Turn(1, p_only))
    scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
    change = streams.to_note(Turn(2, adapted(p_only, q=0.05)))
    records = [
        RawRecord(0, NOW_US + DAY_US, payloads=payloads),
        RawRecord(len(payloads), NOW_US + DAY_US, kind="define", note=change),
    ]
    transitions = [t for record in records for t in fold_records(flow, scorer, "s/p", [record])[1]]
    states = [t.state for t in transitions if t.group == "all"]
    assert (states[0], states[-1]) == ("opened", "resolved")
    assert all(t.definition == p_only.version for t in transitions)


def _is_bad(text: str) -> bool:
    engine = NullEngine()
    return engine.score(engine.encode([text], "logs"))[0].probability >= A.threshold


def test_a_setting_at_its_default_is_no_part_of_the_version() -> None:
    assert adapted(A, drops=False).version != A.version
    older = json.loads(streams.to_note(Turn(1, A)))
    del older["definition"]["drops"]  # what a Tocsin wrote that did not know the setting
    assert streams.from_note(json.dumps(older)).definition.version == A.version


def test_a_tick_that_a_change_cuts_in_two_is_no_drop() -> None:
    hours = adapted(A, clocks=("s/p",), overall=True, tick_us=60 * MINUTE_US)
    good = [
        json.dumps({"time": to_iso(NOW_US + minute * MINUTE_US), "bad": 10, "total": 10}).encode()
        for minute in range(60 * 60 + 10)
    ]
    flow = StreamFlow(hours, run="r", buckets=1)
    scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
    flow.open("s/p", Turn(1, hours))
    note = streams.to_note(Turn(2, adapted(hours, q=0.05)))
    records = [
        RawRecord(0, NOW_US + 9 * DAY_US, payloads=good),
        RawRecord(len(good), NOW_US + 9 * DAY_US, kind="define", note=note),
    ]
    assert [t for record in records for t in fold_records(flow, scorer, "s/p", [record])[1]] == []
