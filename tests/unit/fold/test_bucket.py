"""The bucket: slices in, each closed tick reported once, gaps told from zeros."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.bucket
from pipeline.bucket import LONGEST_SILENCE, Bucket
from pipeline.errors import RangeGap, StateMismatch, UnknownRecord
from pipeline.instants import MINUTE_US
from pipeline.records import LEFT_US, Exemplar, Key, Tally, TallySlice, Verdict
from pipeline.streams import Definition

Closed = dict[int, tuple[dict[tuple[str, str], tuple[int, int]], bool]]


def definition(**changes: object) -> Definition:
    made: dict[str, object] = {"name": "s", "kind": "logs", "tick_us": MINUTE_US, "clocks": ("s/a", "s/b")}
    return Definition(**(made | changes))  # type: ignore[arg-type]


def minute(tick: float) -> int:
    return definition().ticks.start_us(0) + round(tick * MINUTE_US)


def slice_of(
    partition: str,
    start: int,
    end: int,
    watermark: float,
    *tallies: tuple[int, Key, Tally],
    touched: list[int] | None = None,
    begins: bool | None = None,
    left: bool = False,
) -> TallySlice:
    by_tick: dict[int, dict[Key, Tally]] = {}
    for tick, key, one in tallies:
        by_tick.setdefault(tick, {})[key] = one
    return TallySlice(
        stream="s",
        definition="d",
        bucket=0,
        partition=partition,
        start=start,
        end=end,
        begins=start == 0 if begins is None else begins,
        watermark_us=LEFT_US if left else minute(watermark),
        touched=sorted(by_tick) if touched is None else touched,
        model="m",
        tallies=by_tick,
    )


def tally(tick: int, bad: int = 0, total: int = 1, member: str = "", **more: Any) -> tuple[int, Key, Tally]:
    return tick, ("all", member), Tally(bad, total, **more)


def spans(verdicts: list[Verdict]) -> list[tuple[int, int, bool]]:
    return [(v.first_tick, v.last_tick, v.gap) for v in verdicts]


class Recorder:
    """Takes the place of the detector and keeps what each closed tick counted, and whether it was complete."""

    def __init__(self, closed: Closed) -> None:
        self.closed = closed

    def close(self, tick: int, counts: Any, *, complete: bool = True) -> tuple[list[Any], int]:
        assert tick not in self.closed
        self.closed[tick] = (dict(counts), complete)
        return [], 0

    def to_bytes(self) -> bytes:
        return b""


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Closed]:
    found: Closed = {}
    monkeypatch.setattr(pipeline.bucket, "Detector", lambda definition: Recorder(found))
    return found


def test_a_tick_closes_when_every_clock_has_passed_its_end_and_the_lateness(closed: Closed) -> None:
    bucket = Bucket(definition(lateness_us=2 * MINUTE_US), 0)
    assert bucket.apply(slice_of("s/a", 0, 1, 9, tally(0))) == []  # the other clock has not begun
    assert bucket.apply(slice_of("s/b", 0, 1, 2.99, tally(0))) == []
    assert spans(bucket.apply(slice_of("s/b", 1, 2, 3))) == [(0, 0, False)]
    assert closed == {0: ({("all", ""): (0, 2)}, True)}


def test_a_clock_that_left_holds_nothing_open(closed: Closed) -> None:
    bucket = Bucket(definition(), 0)
    bucket.apply(slice_of("s/a", 0, 1, 4, tally(3)))
    assert spans(bucket.apply(slice_of("s/b", 0, 1, 0, left=True))) == [(3, 3, False)]
    assert not bucket.finished
    assert spans(bucket.apply(slice_of("s/a", 1, 2, 0, tally(7), left=True))) == [(4, 6, True), (7, 7, False)]
    assert bucket.finished


def test_a_slice_that_was_covered_is_skipped(closed: Closed) -> None:
    bucket = Bucket(definition(), 0)
    for _ in range(3):
        bucket.apply(slice_of("s/a", 0, 4, 0, tally(0)))
    bucket.apply(slice_of("s/a", 0, 2, 0, tally(0), begins=True))
    bucket.apply(slice_of("s/b", 0, 1, 1))
    bucket.apply(slice_of("s/a", 4, 5, 1))
    assert closed[0][0] == {("all", ""): (0, 1)}


@pytest.mark.parametrize(("start", "end"), [(5, 6), (3, 5), (9, 12)])
def test_a_slice_that_does_not_follow_says_where_to_rewind(start: int, end: int) -> None:
    bucket = Bucket(definition(), 0)
    bucket.apply(slice_of("s/a", 0, 4, 0))
    with pytest.raises(RangeGap) as gap:
        bucket.apply(slice_of("s/a", start, end, 0))
    assert (gap.value.partition, gap.value.expected, gap.value.got) == ("s/a", 4, start)


def test_a_partition_must_begin_with_its_first_slice() -> None:
    with pytest.raises(RangeGap):
        Bucket(definition(), 0).apply(slice_of("s/a", 4, 5, 0, begins=False))
    Bucket(definition(), 0).apply(slice_of("s/a", 4, 5, 0, begins=True))  # a definition that began at 4


def test_a_live_tick_in_which_a_clock_did_not_move_is_not_complete(closed: Closed) -> None:
    bucket = Bucket(definition(), 0)
    bucket.apply(slice_of("s/a", 0, 1, 2, tally(0), touched=[0, 1, 2]))
    bucket.apply(slice_of("s/b", 0, 1, 2, touched=[1, 2]))  # a heartbeat in ticks 1 and 2, nothing of tick 0
    assert closed == {0: ({("all", ""): (0, 1)}, False), 1: ({}, True)}


@pytest.mark.parametrize("changes", [{"clock": "data"}, {"silence": "zero"}])
def test_in_history_and_where_silence_is_zero_every_tick_is_complete(closed: Closed, changes: dict[str, str]) -> None:
    bucket = Bucket(definition(**changes), 0)
    bucket.apply(slice_of("s/a", 0, 1, 2, tally(0)))
    bucket.apply(slice_of("s/b", 0, 1, 2, touched=[2]))
    assert closed[0][1]


def test_a_run_of_ticks_that_nothing_touched_is_one_gap(closed: Closed) -> None:
    bucket = Bucket(definition(clocks=("s/a",)), 0)
    verdicts = bucket.apply(slice_of("s/a", 0, 2, 9, tally(0), tally(7)))
    assert spans(verdicts) == [(0, 0, False), (1, 6, True), (7, 7, False), (8, 8, True)]
    assert set(closed) == {0, 7}


def test_where_silence_is_zero_a_silent_tick_is_closed_as_zero(closed: Closed) -> None:
    bucket = Bucket(definition(clocks=("s/a",), silence="zero"), 0)
    verdicts = bucket.apply(slice_of("s/a", 0, 2, 4, tally(0)))
    assert spans(verdicts) == [(0, 0, False), (1, 1, False), (2, 2, False), (3, 3, False)]
    assert closed[3] == ({}, True)


def test_a_silence_of_weeks_is_a_gap_even_where_silence_is_zero(closed: Closed) -> None:
    bucket = Bucket(definition(clocks=("s/a",), silence="zero"), 0)
    verdicts = bucket.apply(slice_of("s/a", 0, 2, LONGEST_SILENCE + 9, tally(0)))
    assert spans(verdicts)[-1] == (LONGEST_SILENCE + 1, LONGEST_SILENCE + 8, True)
    assert max(closed) == LONGEST_SILENCE


def test_a_story_counts_once_a_tick_and_is_bad_if_one_copy_is(closed: Closed) -> None:
    bucket = Bucket(definition(clocks=("s/a",)), 0)
    bucket.apply(slice_of("s/a", 0, 2, 0, tally(0, 1, 2, stories={7: 0, 8: 1})))
    bucket.apply(slice_of("s/a", 2, 4, 0, tally(0, 0, 1, stories={7: 1, 8: 0})))
    bucket.apply(slice_of("s/a", 4, 5, 1))
    assert closed[0][0] == {("all", ""): (1 + 2, 3 + 2)}


def test_evidence_is_the_best_of_all_slices() -> None:
    made = [Exemplar(-n, f"i{n}", 0, "web", f"text {n}") for n in range(12)]
    burst = definition(clocks=("s/a",), clock="data")
    bucket = Bucket(burst, 0)
    position = 0
    for tick in range(60):
        bucket.apply(slice_of("s/a", position, position + 1, tick, tally(tick, 2, 10)))
        position += 1
    for exemplar in made:
        one = tally(60, 50, 60, exemplars=[exemplar], sources={"web": 50})
        bucket.apply(slice_of("s/a", position, position + 1, 60, one))
        position += 1
    (verdict,) = bucket.apply(slice_of("s/a", position, position + 1, 61))[-1:]
    (report,) = verdict.reports
    assert [e.id for e in report.exemplars] == ["i11", "i10", "i9", "i8", "i7"]
    assert report.sources == {"web": 600}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["s/a", "s/b"]), st.integers(0, 12), st.integers(0, 3)), max_size=25),
    st.integers(1, 6),
    st.sampled_from(["gap", "zero"]),
)
def test_restarts_change_no_verdict(made: list[tuple[str, int, int]], every: int, silence: str) -> None:
    d = definition(silence=silence, clock="data")
    straight, restarted = Bucket(d, 0), Bucket(d, 0)
    position = {"s/a": 0, "s/b": 0}
    watermark = {"s/a": 0, "s/b": 0}
    first, second = [], []
    for n, (partition, tick, bad) in enumerate(made):
        watermark[partition] = max(watermark[partition], tick)
        here = position[partition]
        touched = [] if tick < watermark[partition] else [tick]
        tallies = [tally(tick, bad, 3)] if touched else []
        one = slice_of(partition, here, here + 1, watermark[partition], *tallies, touched=touched)
        position[partition] += 1
        first += straight.apply(one)
        second += restarted.apply(one)
        if n % every == 0:
            restarted = Bucket(d, 0, restarted.to_bytes())
            second += restarted.apply(one)  # the same slice once more is a duplicate
    assert first == second
    assert [v.first_tick for v in first] == sorted({v.first_tick for v in first})


def test_the_state_of_another_bucket_or_definition_is_refused() -> None:
    state = Bucket(definition(), 0).to_bytes()
    with pytest.raises(StateMismatch, match="bucket 0 of s under definition"):
        Bucket(definition(), 1, state)
    with pytest.raises(StateMismatch):
        Bucket(definition(tick_us=2 * MINUTE_US), 0, state)
    with pytest.raises(UnknownRecord):
        Bucket(definition(), 0, b"\x63" + state[1:])
