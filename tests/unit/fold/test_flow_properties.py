"""Replay equals live: whatever the slices, interleavings, restarts and buckets, the same counts and surges.

The oracle is a plain dictionary count that shares no code with the folds.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.bucket
from pipeline.detect.digest import digest
from pipeline.flow import StreamFlow
from pipeline.records import RawRecord, Transition
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition

MINUTE = 60_000_000
START = datetime(2024, 5, 6, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
RECEIVED_US = START_US + 30 * 86_400_000_000


@dataclass
class Entry:
    """One entry of a raw partition: an item as sent, or a heartbeat at a minute."""

    kind: str
    minute: float
    payload: bytes = b""


@dataclass
class History:
    """Entries by partition."""

    partitions: dict[str, list[Entry]] = field(default_factory=dict)


@st.composite
def histories(draw: st.DrawFn, *, most: int = 60) -> History:
    """Up to three partitions with jumbled times, repeated ids, broken items, bursts and heartbeats."""
    history = History()
    for n in range(draw(st.integers(1, 3))):
        entries: list[Entry] = []
        at = 0.0
        for i in range(draw(st.integers(0, most))):
            at += draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 17.0]))
            when = at - draw(st.sampled_from([0.0, 0.0, 0.0, 0.7, 2.5, 9.0]))
            kind = draw(st.sampled_from(["item"] * 12 + ["repeat", "broken", "undated", "future", "heartbeat"]))
            if kind == "heartbeat":
                entries.append(Entry("heartbeat", when))
                continue
            item = {
                "time": (START + timedelta(minutes=when)).isoformat(),
                "text": draw(st.sampled_from(["all fine", "disk failed", "link down", "odd \x00 text", "x" * 300])),
                "source": draw(st.sampled_from(["a", "b"])),
                "host": draw(st.sampled_from(["h1", "h2", None])),
            }
            if draw(st.booleans()):
                item["id"] = f"{n}-{i if kind != 'repeat' else max(0, i - 3)}"
            if kind == "undated":
                del item["time"]
            if kind == "future":
                item["time"] = (START + timedelta(days=300)).isoformat()
            payload = json.dumps(item).encode()
            entries.append(Entry("item", when, payload[: len(payload) // 2] if kind == "broken" else payload))
        history.partitions[f"logs/p{n}"] = entries
    return history


def definition_of(history: History, **changes: object) -> Definition:
    settings: dict[str, object] = {
        "name": "logs",
        "kind": "logs",
        "tick_us": MINUTE,
        "lateness_us": 2 * MINUTE,
        "clock": "data",
        "max_ahead_us": MINUTE,
        "group": ("source",),
        "member": ("host",),
        "overall": True,
        "clocks": tuple(history.partitions),
    }
    return Definition(**(settings | changes))  # type: ignore[arg-type]


def records_of(entries: list[Entry], cuts: list[int]) -> list[RawRecord]:
    """The entries as raw records, cut at heartbeats and at `cuts`, and the end of the clock."""
    records: list[RawRecord] = []
    payloads: list[bytes] = []
    position = 0

    def flush() -> None:
        nonlocal position
        if payloads:
            records.append(RawRecord(position, RECEIVED_US, payloads=list(payloads)))
            position += len(payloads)
            payloads.clear()

    for i, entry in enumerate(entries):
        if entry.kind == "heartbeat":
            flush()
            time_us = START_US + round(entry.minute * MINUTE)
            records.append(RawRecord(position, RECEIVED_US, kind="heartbeat", time_us=time_us))
            position += 1
        else:
            payloads.append(entry.payload)
            if i in cuts:
                flush()
    flush()
    records.append(RawRecord(position, RECEIVED_US, kind="leave"))
    return records


def run(
    history: History,
    definition: Definition,
    *,
    cuts: list[int] | None = None,
    order: list[int] | None = None,
    buckets: int = 1,
    restart_every: int = 0,
) -> tuple[list[Transition], StreamFlow]:
    """Fold a history; `order` says which partition is next, `restart_every` after how many steps the process dies."""
    flow = StreamFlow(definition, run="test", buckets=buckets)
    queues = {p: records_of(entries, cuts or []) for p, entries in history.partitions.items()}
    transitions: list[Transition] = []
    ids: dict[str, list[str]] = defaultdict(list)
    steps = 0
    turns = list(order or [])
    while queues:
        names = sorted(queues)
        name = names[turns.pop(0) % len(names)] if turns else names[0]
        record = queues[name].pop(0)
        if not queues[name]:
            del queues[name]
        scored, new = fold_records(flow, Scorer(NullEngine(), cache_entries=3, batch_tokens=64), name, [record])
        ids[name].extend(s.id for one in scored for s in one.slice.signals if s.id)
        transitions.extend(new)
        steps += 1
        if restart_every and steps % restart_every == 0:
            flow = StreamFlow(definition, run="test", buckets=buckets, states=flow.states())
            for partition, seen in ids.items():
                flow.open(partition).remember(seen[-definition.remember_ids :])
    return transitions, flow


def is_bad(text: str, definition: Definition) -> bool:
    """What the null engine says, computed here again from its definition: the top 53 bits of xxh64 as a fraction."""
    score = NullEngine().score(NullEngine().encode([text], definition.kind))[0]
    return round(score.probability * 1_000_000) >= round(definition.threshold * 1_000_000)


def oracle(
    history: History, definition: Definition
) -> tuple[dict[int, dict[tuple[str, str], list[int]]], Counter[str]]:
    """Counts by tick and key, and what became of the items: a plain dictionary count."""
    counts: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(dict)
    fates: Counter[str] = Counter()
    for entries in history.partitions.values():
        watermark: datetime | None = None
        seen: set[str] = set()
        for entry in entries:
            if entry.kind == "heartbeat":
                when = START + timedelta(minutes=entry.minute)
                watermark = when if watermark is None else max(watermark, when)
                continue
            try:
                item = json.loads(entry.payload)
                when = datetime.fromisoformat(item["time"])
            except (ValueError, KeyError):
                fates["dead"] += 1
                continue
            if when > START + timedelta(days=30, minutes=1):
                fates["dead"] += 1
                continue
            if item.get("id") in seen:
                fates["duplicates"] += 1
                continue
            if "id" in item:
                seen.add(item["id"])
            minute = int((when - START).total_seconds() // 60)
            ends = START + timedelta(minutes=minute + 1)
            if watermark is not None and ends + timedelta(minutes=2) <= watermark:
                fates["late"] += 1
                continue
            watermark = when if watermark is None else max(watermark, when)
            fates["counted"] += 1
            group = f"source:{item['source']}"
            for key in ((group, ""), (group, f"host:{item['host'] or 'unknown'}"), ("all", "")):
                count = counts[minute].setdefault(key, [0, 0])
                text = item["text"].replace("\x00", " ")
                count[0] += is_bad(text, definition)
                count[1] += 1
    return counts, fates


class CountingDetector:
    """Takes the place of the detector and keeps what each closed tick counted."""

    closed: ClassVar[dict[int, dict[tuple[str, str], list[int]]]] = {}

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def close(
        self, tick: int, counts: dict[tuple[str, str], tuple[int, int]], *, complete: bool
    ) -> tuple[list[object], int]:
        for key, (bad, total) in counts.items():
            assert key not in self.closed.setdefault(tick, {}), "a key was counted twice in a tick"
            self.closed[tick][key] = [bad, total]
        return [], 0

    def to_bytes(self) -> bytes:
        return b""

    @classmethod
    def from_bytes(cls, definition: Definition, data: bytes) -> CountingDetector:
        return cls(definition)


@settings(max_examples=60)
@given(
    history=histories(),
    cuts=st.lists(st.integers(0, 60)),
    order=st.lists(st.integers(0, 5), max_size=80),
    buckets=st.integers(1, 5),
    restart_every=st.integers(0, 7),
)
def test_every_item_is_counted_as_a_plain_dictionary_counts_it(
    history: History, cuts: list[int], order: list[int], buckets: int, restart_every: int
) -> None:
    definition = definition_of(history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.bucket, "Detector", CountingDetector)
        CountingDetector.closed = {}
        _, flow = run(history, definition, cuts=cuts, order=order, buckets=buckets, restart_every=restart_every)
        got = CountingDetector.closed
    expected, fates = oracle(history, definition)
    first = definition.ticks.index(START_US)
    assert {tick - first: counts for tick, counts in got.items() if counts} == expected
    became: Counter[str] = Counter()
    for partition in history.partitions:
        counts = flow.open(partition).counts
        became.update(
            {"counted": counts.counted, "late": counts.late, "duplicates": counts.duplicates, "dead": counts.dead}
        )
    assert +became == fates
    items = sum(entry.kind == "item" for entries in history.partitions.values() for entry in entries)
    assert sum(became.values()) == items


def test_a_tick_before_the_first_heartbeat_still_counts_within_the_lateness() -> None:
    """A clock that begins with a heartbeat must not close the ticks that its lateness still holds open."""
    item = {"time": (START - timedelta(seconds=42)).isoformat(), "text": "all fine", "source": "a", "host": "h1"}
    history = History({"logs/p0": [Entry("heartbeat", 0.0), Entry("item", -0.7, json.dumps(item).encode())]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.bucket, "Detector", CountingDetector)
        CountingDetector.closed = {}
        run(history, definition_of(history))
    first = definition_of(history).ticks.index(START_US)
    assert CountingDetector.closed[first - 1][("source:a", "")] == [is_bad("all fine", definition_of(history)), 1]


def burst_history(seed: int) -> History:
    """Two partitions over forty quiet minutes, then a burst of failures: certain to open a surge."""
    history = History()
    bad, good = _texts()
    for n in range(2):
        entries = []
        for minute in range(60):
            for i in range(40 if 40 <= minute < 46 else 4):
                text = bad if 40 <= minute < 46 or (minute * 7 + i + n + seed) % 5 == 0 else good
                when = START + timedelta(minutes=minute, seconds=i)
                item = {
                    "time": when.isoformat(),
                    "text": text,
                    "source": "a",
                    "host": f"h{i % 3}",
                    "id": f"{minute}/{i}",
                }
                entries.append(Entry("item", minute, json.dumps(item).encode()))
        history.partitions[f"logs/p{n}"] = entries
    return history


def _texts() -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    definition = Definition(name="x", kind="logs", tick_us=1)
    words = [f"word {chr(97 + n)}" for n in range(26)]
    return next(w for w in words if is_bad(w, definition)), next(w for w in words if not is_bad(w, definition))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 300), max_size=40),
    order=st.lists(st.integers(0, 5), max_size=120),
    buckets=st.integers(1, 8),
    restart_every=st.integers(0, 9),
)
def test_slices_interleavings_buckets_and_restarts_change_no_surge(
    seed: int, cuts: list[int], order: list[int], buckets: int, restart_every: int
) -> None:
    history = burst_history(seed)
    definition = definition_of(history)
    straight, _ = run(history, definition)
    assert any(t.state == "opened" for t in straight)
    other, _ = run(history, definition, cuts=cuts, order=order, buckets=buckets, restart_every=restart_every)
    assert digest(other) == digest(straight)
    assert [t.exemplars for t in sorted(other, key=_place)] == [t.exemplars for t in sorted(straight, key=_place)]


def _place(transition: Transition) -> tuple[int, str, str, int]:
    return transition.tick, transition.group, transition.direction, transition.sequence


def test_the_oracle_and_the_null_engine_agree_on_their_hash() -> None:
    score = NullEngine().score(NullEngine().encode(["disk failed"], "logs"))[0].probability
    assert 0 <= score < 1
    assert score == NullEngine().score(NullEngine().encode(["disk failed"], "news"))[0].probability
    assert xxhash.xxh64_intdigest(b"disk failed") >= 0
