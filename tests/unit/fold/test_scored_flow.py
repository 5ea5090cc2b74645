"""Scored slices alone give what live gave: in any interleaving, cut anywhere, from any saved state."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_flow_properties import History, burst_history, definition_of, histories, records_of

from pipeline import streams
from pipeline.detect.digest import digest
from pipeline.detect.surge import in_run
from pipeline.errors import RangeGap, StateMismatch
from pipeline.flow import StreamFlow
from pipeline.ingest.fold import IngestFold
from pipeline.instants import DAY_US, MINUTE_US, to_iso
from pipeline.records import LEFT_US, RawRecord, ScoreSlice, Transition
from pipeline.runtime.pipeline import fold_records
from pipeline.scored_flow import ScoredFlow
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, Turn, adapted

Changes = Literal["", "at once", "from a tick"]
BEGIN_US = 20_000 * DAY_US
CHANGES: tuple[Changes, ...] = get_args(Changes)


def live(
    history: History, definition: Definition, cuts: list[int], run: str = "live", changes: Changes = ""
) -> tuple[dict[str, list[ScoreSlice]], list[Transition], dict[str, Definition]]:
    """What one process made of a history: recorded slices by clock, transitions, and definitions by generation."""
    flow = StreamFlow(definition, run=run, buckets=3)
    scorer = Scorer(NullEngine(), cache_entries=9, batch_tokens=99)
    recorded: dict[str, list[ScoreSlice]] = defaultdict(list)
    transitions: list[Transition] = []
    logs = {partition: records_of(entries, cuts) for partition, entries in history.partitions.items()}
    for partition, records in with_a_change(definition, logs, changes).items():
        for record in records:
            slices, new = fold_records(flow, scorer, partition, [record])
            recorded[partition].extend(slices)
            transitions.extend(new)
    definitions = {k: d for p in history.partitions for k, d in flow.open(p).definitions.items()}
    return recorded, transitions, definitions


def with_a_change(
    definition: Definition, logs: dict[str, list[RawRecord]], changes: Changes
) -> dict[str, list[RawRecord]]:
    """The same records with another definition announced in their middle: at once, or from a tick on."""
    if not changes:
        return logs
    turn = Turn(2, adapted(definition, tick_us=2 * MINUTE_US))
    if changes == "from a tick":
        reached_us = 0
        for partition, records in logs.items():
            before = IngestFold(Turn(1, definition), partition)
            before.apply(records[: len(records) // 2])
            reached_us = max(reached_us, 0 if before.watermark_us in (None, LEFT_US) else before.watermark_us or 0)
        turn = msgspec.structs.replace(
            turn, from_us=turn.definition.ticks.start_us(turn.definition.ticks.index(reached_us) + 2)
        )
    changed = {}
    for partition, records in logs.items():
        middle = len(records) // 2
        define = RawRecord(records[middle].position, 0, kind="define", note=streams.to_note(turn))
        moved = [msgspec.structs.replace(record, position=record.position + 1) for record in records[middle:]]
        changed[partition] = [*records[:middle], define, *moved]
    return changed


def again(
    recorded: dict[str, list[ScoreSlice]],
    definitions: dict[str, Definition],
    *,
    order: list[int] | None = None,
    buckets: int = 1,
    save_every: int = 0,
    repeat: bool = False,
) -> tuple[list[Transition], ScoredFlow]:
    flow = ScoredFlow("logs", definitions.__getitem__, run="live", buckets=buckets)
    queues = {clock: list(slices) for clock, slices in recorded.items() if slices}
    transitions: list[Transition] = []
    turns, steps = list(order or []), 0
    while queues:
        names = sorted(queues)
        name = names[turns.pop(0) % len(names)] if turns else names[0]
        slice = queues[name].pop(0)
        if not queues[name]:
            del queues[name]
        for _ in range(2 if repeat else 1):
            transitions.extend(flow.apply(slice))
        steps += 1
        if save_every and steps % save_every == 0:
            flow = ScoredFlow.from_bytes("logs", definitions.__getitem__, flow.to_bytes(), run="live")
    return transitions, flow


@settings(max_examples=30)
@given(
    history=histories(),
    cuts=st.lists(st.integers(0, 60)),
    order=st.lists(st.integers(0, 5), max_size=80),
    buckets=st.integers(1, 4),
    save_every=st.integers(0, 7),
    repeat=st.booleans(),
    changes=st.sampled_from(CHANGES),
)
def test_recorded_slices_give_the_transitions_of_live(
    history: History,
    cuts: list[int],
    order: list[int],
    buckets: int,
    save_every: int,
    repeat: bool,
    changes: Changes,
) -> None:
    recorded, transitions, definitions = live(history, definition_of(history), cuts, changes=changes)
    found, flow = again(recorded, definitions, order=order, buckets=buckets, save_every=save_every, repeat=repeat)
    assert digest(found) == digest(transitions)
    assert flow.settled_us == LEFT_US


@settings(max_examples=10)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=40),
    order=st.lists(st.integers(0, 5), max_size=120),
    save_every=st.integers(0, 9),
    changes=st.sampled_from(CHANGES),
)
def test_a_burst_is_found_again(cuts: list[int], order: list[int], save_every: int, changes: Changes) -> None:
    history = burst_history(1)
    recorded, transitions, definitions = live(history, definition_of(history), cuts, changes=changes)
    assert transitions or changes  # a change in the middle of the burst begins anew
    found, _ = again(recorded, definitions, order=order, save_every=save_every, buckets=2)
    assert digest(found) == digest(transitions)


def test_what_a_state_has_not_closed_is_found_after_it() -> None:
    """A state whose last closed tick ends before a range gives all transitions of the range."""
    history = burst_history(0)
    recorded, transitions, definitions = live(history, definition_of(history), list(range(300)))
    flow = ScoredFlow("logs", definitions.__getitem__, run="live")
    rest: list[ScoreSlice] = []
    first_us = min(t.tick_us for t in transitions)
    slices = sorted((s for found in recorded.values() for s in found), key=lambda s: (s.slice.reached_us, s.slice.end))
    for n, slice in enumerate(slices):
        before = flow.to_bytes()
        flow.apply(slice)
        if flow.closed_us > first_us:
            flow, rest = ScoredFlow.from_bytes("logs", definitions.__getitem__, before, run="live"), slices[n:]
            break
    assert flow.closed_us <= first_us
    assert rest
    assert digest(t for slice in rest for t in flow.apply(slice)) == digest(transitions)


def test_a_missing_slice_is_an_error() -> None:
    history = burst_history(0)
    recorded, _, definitions = live(history, definition_of(history), list(range(300)))
    (clock, slices), *_ = recorded.items()
    flow = ScoredFlow("logs", definitions.__getitem__, run="live")
    with pytest.raises(RangeGap) as gap:
        flow.apply(slices[1])  # the clock has not begun
    assert (gap.value.partition, gap.value.expected) == (clock, 0)
    flow.apply(slices[0])
    with pytest.raises(RangeGap) as gap:
        flow.apply(slices[2])
    assert (gap.value.expected, gap.value.got) == (slices[0].slice.end, slices[2].slice.start)


def test_a_state_is_that_of_its_stream_and_run() -> None:
    flow = ScoredFlow("logs", {}.__getitem__, run="live")
    with pytest.raises(StateMismatch):
        ScoredFlow.from_bytes("logs", {}.__getitem__, flow.to_bytes(), run="other")
    with pytest.raises(StateMismatch):
        ScoredFlow.from_bytes("news", {}.__getitem__, flow.to_bytes(), run="live")


def test_what_has_settled_is_as_far_as_the_slowest_clock() -> None:
    history = burst_history(0)
    definition = definition_of(history)
    recorded, _, definitions = live(history, definition, [20])
    flow = ScoredFlow("logs", definitions.__getitem__, run="live")
    one, other = recorded.values()
    flow.apply(one[0])
    assert flow.settled_us is None
    flow.apply(other[0])
    slowest_us = min(one[0].slice.watermark_us, other[0].slice.watermark_us)
    settled_us = slowest_us - definition.lateness_us
    assert flow.settled_us == settled_us
    ticks = definition.ticks
    last = ticks.index(settled_us) - 1  # the last tick that has closed
    assert flow.closed_us == ticks.end_us(last)
    assert flow.has_settled(ticks.end_us(last))
    assert not flow.has_settled(ticks.end_us(last) + 1)


def test_a_change_of_definition_is_not_the_end_of_a_stream() -> None:
    """Between the last slice of the old definition and the first of the new one no clock has left."""
    recorded, _, definitions = live(burst_history(0), definition_of(burst_history(0)), [], changes="at once")
    flow = ScoredFlow("logs", definitions.__getitem__, run="live")
    for slices in recorded.values():
        for slice in slices:
            flow.apply(slice)
            if slice.slice.ends:
                break
    assert flow.settled_us is not None
    assert flow.settled_us < LEFT_US
    assert not flow.has_settled(max(s.slice.reached_us for found in recorded.values() for s in found))


def test_a_stream_that_all_clocks_have_left_may_still_get_items() -> None:
    history = burst_history(0)
    recorded, _, definitions = live(history, definition_of(history), [20])
    _, flow = again(recorded, definitions)
    flow = ScoredFlow.from_bytes("logs", definitions.__getitem__, flow.to_bytes(), run="live")
    last = next(iter(recorded.values()))[-1]
    end = last.slice.end
    more = msgspec.structs.replace(last.slice, start=end, end=end + 1, begins=False, signals=[])
    assert flow.apply(ScoreSlice(more, "", [], [])) == []


def test_a_transition_can_be_given_to_another_run_as_its_judge_would_name_it() -> None:
    history = burst_history(2)
    definition = definition_of(history)
    _, transitions, _ = live(history, definition, [])
    _, there, _ = live(history, definition, [], run="what-if")
    assert transitions
    assert digest(in_run(t, definition, "what-if") for t in transitions) == digest(there)


def _turning(
    definition: Definition, after: Definition, records: list[RawRecord]
) -> tuple[list[ScoreSlice], ScoredFlow]:
    """The slices of one clock whose definition changes at minute 12, announced by the second record; an empty flow."""
    turn = Turn(2, after, BEGIN_US + 12 * MINUTE_US)
    define = RawRecord(1, BEGIN_US + DAY_US, kind="define", note=streams.to_note(turn))
    fold = IngestFold(Turn(1, definition), "logs/a")
    slices = [slice for record in [records[0], define, *records[1:]] for slice in fold.apply([record])]
    flow = ScoredFlow("logs", lambda name: fold.definitions[name], run="live")
    return [ScoreSlice(s, "m", [0.0] * len(s.signals), [""] * len(s.signals)) for s in slices], flow


def _at(position: int, minute: float) -> RawRecord:
    item = msgspec.json.encode({"time": to_iso(BEGIN_US + round(minute * MINUTE_US)), "text": "x"})
    return RawRecord(position, BEGIN_US + DAY_US, payloads=[item])


ALONE = Definition(name="logs", kind="logs", tick_us=MINUTE_US, lateness_us=0, clock="data", clocks=("logs/a",))


def test_the_ticks_of_a_definition_that_takes_over_settle_by_its_own_lateness() -> None:
    slices, flow = _turning(ALONE, adapted(ALONE, lateness_us=60 * MINUTE_US), [_at(0, 0), _at(2, 14), _at(3, 30)])
    for slice in slices:
        flow.apply(slice)
        assert not flow.has_settled(BEGIN_US + 13 * MINUTE_US)
    assert slices[-2].slice.ends


def test_a_definition_whose_clocks_leave_while_it_waits_is_kept_while_slices_name_it() -> None:
    leave = RawRecord(3, BEGIN_US + DAY_US, kind="leave")
    slices, flow = _turning(ALONE, adapted(ALONE, threshold=0.9), [_at(0, 0), _at(2, 5), leave, _at(4, 6)])
    for slice in slices:
        flow.apply(slice)
        flow = ScoredFlow.from_bytes("logs", flow._definition_of, flow.to_bytes(), run="live")
    assert flow.covered == {"logs/a": 5}
