"""A definition that follows from a tick on: the ticks before are the old one's, whole; those after are its own, whole.

Compared with counts in plain dictionaries, however the log is cut, restarted and interleaved.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.bucket
from pipeline import streams
from pipeline.flow import StreamFlow
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.records import RawRecord
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn, adapted

BEGIN_US = 20_000 * DAY_US
RECEIVED_US = BEGIN_US + DAY_US
#: Minutes: from which the second definition holds, up to which items come, and one long after them.
CHANGE, LAST, END = 12, 32, 48
OLD = Definition(
    name="s", kind="logs", tick_us=2 * MINUTE_US, lateness_us=3 * MINUTE_US, clock="data", clocks=("s/p", "s/q")
)
NEW = {
    "threshold": adapted(OLD, threshold=0.9),
    "shorter ticks": adapted(OLD, tick_us=MINUTE_US, lateness_us=MINUTE_US),
    "longer ticks": adapted(OLD, tick_us=4 * MINUTE_US, lateness_us=5 * MINUTE_US),
    "q leaves": adapted(OLD, clocks=("s/p",)),
    "r joins": adapted(OLD, clocks=("s/p", "s/q", "s/r")),
}


class Closed(NamedTuple):
    """A tick that a detector has closed."""

    total: int
    complete: bool


class RecordingDetector:
    """Takes the place of the detector: what was closed, by definition and first minute of the tick."""

    closed: ClassVar[dict[tuple[str, int], Closed]] = {}

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def close(self, tick: int, counts: Any, *, complete: bool = True) -> tuple[list[Any], int]:
        minute = (self.definition.ticks.start_us(tick) - BEGIN_US) // MINUTE_US
        place = self.definition.version, minute
        total = sum(total for _, total in counts.values())
        known = self.closed.get(place)
        self.closed[place] = Closed(total, complete) if known is None else Closed(known.total + total, complete)
        assert known is None or known.complete == complete
        return [], 0

    def to_bytes(self) -> bytes:
        return b""

    @classmethod
    def from_bytes(cls, definition: Definition, data: bytes) -> RecordingDetector:
        return cls(definition)


def log_of(partition: str, minutes: list[float], announced: int, new: Definition, *, in_time: bool) -> list[RawRecord]:
    """Items in this order, an announcement among them (before the first of its ticks when `in_time`), and an end."""
    turn = Turn(2, new, BEGIN_US + CHANGE * MINUTE_US)
    first_new = next((n for n, minute in enumerate(minutes) if minute >= CHANGE), len(minutes))
    records: list[RawRecord] = []
    for n, minute in enumerate([*minutes, END]):
        if n == min(announced, first_new if in_time else len(minutes)) and partition in OLD.clocks:
            records.append(RawRecord(len(records), RECEIVED_US, "define", note=streams.to_note(turn)))
        item = {"time": to_iso(BEGIN_US + round(minute * MINUTE_US)), "text": "x", "source": partition}
        records.append(RawRecord(len(records), RECEIVED_US, payloads=[json.dumps(item).encode()]))
    return records


def chunks_of(records: list[RawRecord], cuts: set[int]) -> list[list[RawRecord]]:
    chunks: list[list[RawRecord]] = [[]]
    for n, record in enumerate(records):
        if n in cuts and chunks[-1]:
            chunks.append([])
        chunks[-1].append(record)
    return chunks


# Sorted within the shortest lateness, so that nothing is late and the oracle needs no clock.
MINUTES = st.lists(st.floats(0, LAST).map(lambda m: round(m, 2)), max_size=14).map(sorted)


@settings(max_examples=300)
@given(
    p=MINUTES,
    q=MINUTES,
    r=MINUTES,
    announced=st.tuples(st.integers(0, 14), st.integers(0, 14)),
    change=st.sampled_from(sorted(NEW)),
    silence=st.sampled_from(["gap", "zero"]),
    cuts=st.sets(st.integers(0, 16)),
    order=st.lists(st.sampled_from(["s/p", "s/q", "s/r"]), max_size=40),
    restart_every=st.integers(1, 9),
    buckets=st.integers(1, 2),
    in_time=st.booleans(),
    leaves=st.tuples(st.none() | st.integers(0, 14), st.none() | st.integers(0, 14)),
)
def test_every_tick_is_whole_under_one_definition(
    p: list[float],
    q: list[float],
    r: list[float],
    announced: tuple[int, int],
    change: str,
    silence: str,
    cuts: set[int],
    order: list[str],
    restart_every: int,
    buckets: int,
    in_time: bool,
    leaves: tuple[int | None, int | None],
) -> None:
    old, new = adapted(OLD, silence=silence), adapted(NEW[change], silence=silence)
    turns = {"s/p": Turn(1, old), "s/q": Turn(1, old)}
    minutes = {"s/p": p, "s/q": q}
    if "s/r" in new.clocks:
        turns["s/r"], minutes["s/r"] = Turn(2, new, BEGIN_US + CHANGE * MINUTE_US), r
    whens = dict(zip(("s/p", "s/q", "s/r"), (*announced, 0), strict=True))
    logs = {name: log_of(name, found, whens[name], new, in_time=in_time) for name, found in minutes.items()}
    for name, at in zip(("s/p", "s/q"), leaves, strict=True):
        if at is not None:
            logs[name].insert(min(at, len(logs[name])), RawRecord(0, RECEIVED_US, "leave"))
            logs[name] = [msgspec.structs.replace(record, position=n) for n, record in enumerate(logs[name])]

    def closed(cuts: set[int], order: list[str], restart_every: int) -> dict[tuple[str, int], Closed]:
        queues = {name: chunks_of(records, cuts) for name, records in logs.items()}
        RecordingDetector.closed = {}
        scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)

        def opened(states: dict[str, bytes]) -> StreamFlow:
            flow = StreamFlow(new, run="r", buckets=buckets, states=states)
            for name, turn in turns.items():
                flow.open(name, turn)
            return flow

        flow, steps = opened({}), iter(order)
        for done in range(sum(map(len, queues.values()))):
            name = next((n for n in steps if queues.get(n)), None) or next(n for n, left in queues.items() if left)
            fold_records(flow, scorer, name, queues[name].pop(0))
            if done % restart_every == restart_every - 1:
                flow = opened(flow.states())
        return RecordingDetector.closed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.bucket, "Detector", RecordingDetector)
        found = closed(cuts, order, restart_every)
        assert found == closed(set(range(99)), [], 99)  # record by record, a partition after the other
    if leaves != (None, None):
        return  # how far a partition had come when it left decides what is counted
    if not in_time:  # what stood in the log before the announcement is the old one's
        both = {"s/p", *(name for name in minutes if name in old.clocks and name in new.clocks)}
        if set(minutes) == both:
            assert sum(tick.total for tick in found.values()) == sum(map(len, minutes.values()))
        return
    counted = Counter({place: tick.total for place, tick in found.items() if tick.total})
    oracle = Counter()
    for partition, its in minutes.items():
        for minute in its:
            definition = old if minute < CHANGE else new
            width = definition.tick_us // MINUTE_US
            if partition in definition.clocks:
                oracle[definition.version, int(minute // width * width)] += 1
    assert counted == oracle
    for (version, minute), tick in found.items():
        assert (version == old.version) == (minute < CHANGE)
        assert tick.complete
    if silence == "zero":  # between the first and the last tick, none is left out
        for definition, upto in ((old, CHANGE), (new, LAST)):
            width = definition.tick_us // MINUTE_US
            first = min((m for version, m in found if version == definition.version), default=None)
            if first is not None:
                assert all((definition.version, m) in found for m in range(first, upto - width + 1, width))
