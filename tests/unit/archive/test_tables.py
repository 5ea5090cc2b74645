"""Rows of the archive: slices become rows, and rows the same slices, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.archive.files import read_table, write_table
from pipeline.archive.tables import SIGNALS, LoggedSlice, day_of, rebuilt, signal_rows, slice_rows
from pipeline.errors import ArchiveError
from pipeline.instants import DAY_US, EARLIEST_US, LATEST_US
from pipeline.records import LEFT_US, Counted, DeadLetter, Following, ScoreSlice, Signal, SignalSlice, encode
from pipeline.streams import Definition

DEFINITION = Definition(name="s", kind="logs", tick_us=DAY_US, threshold=0.7)
NOW_US = 20_000 * DAY_US

_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_times = st.integers(EARLIEST_US, LATEST_US - 1) | st.integers(NOW_US, NOW_US + 2 * DAY_US)
_ticks = st.lists(st.integers(-(2**40), 2**40), max_size=3)
_following = st.builds(Following, st.just("v3.3"), _times, st.booleans(), _ticks, _times)


@st.composite
def logged(draw: st.DrawFn) -> list[LoggedSlice]:
    """Slices of two clocks in two partitions, some empty, with signals of any time."""
    made = []
    ends = {"s/a/0": 0, "s/b/0": 0}
    for offset in range(draw(st.integers(0, 8))):
        clock = draw(st.sampled_from(sorted(ends)))
        start = position = ends[clock]
        signals = []
        for _ in range(draw(st.integers(0, 4))):
            position += draw(st.integers(0, 3))
            counted = draw(st.none() | st.builds(Counted, st.integers(0, 9), st.integers(0, 2**40)))
            values = tuple(draw(st.lists(_texts, max_size=2)))
            signals.append(
                Signal(
                    *(position, draw(_texts), draw(_times), draw(st.integers(-(2**40), 2**40)), draw(st.booleans())),
                    *(draw(_texts), draw(_texts), values, draw(st.integers(0, 2**63 - 1)), counted),
                )
            )
            position += 1
        ends[clock] = end = position + 1
        watermark_us = draw(_times | st.just(LEFT_US))
        slice = SignalSlice(
            *("s", draw(st.sampled_from(["v1", "v2.2"])), clock, start, end, draw(st.booleans()), watermark_us),
            *(draw(_ticks), signals, draw(st.integers(0, 5)), []),
            *(draw(st.booleans()), draw(_times), draw(st.none() | _following)),
        )
        scored = ScoreSlice(
            slice,
            draw(st.sampled_from(["m1", ""])),
            [draw(st.floats(0, 1)) for _ in signals],
            [draw(_texts) for _ in signals],
        )
        made.append(LoggedSlice(0 if clock == "s/a/0" else 1, offset, scored))
    return made


@settings(max_examples=60)
@given(slices=logged())
def test_slices_come_back_from_their_rows_bit_for_bit(slices: list[LoggedSlice]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables = []
        for name, days in (("slices", slice_rows(slices)), ("signals", signal_rows(slices, lambda _: DEFINITION))):
            for day, table in days.items():
                write_table(Path(folder) / name / f"{day}.parquet", table)
            tables.append([read_table(path) for path in sorted(Path(folder).glob(f"{name}/*.parquet"))])
        again = rebuilt("s", *tables)
    assert [one[:2] for one in again] == sorted(one[:2] for one in slices)
    written = {one[:2]: encode(one.scored) for one in slices}
    assert {one[:2]: encode(one.scored) for one in again} == written


def one_slice(*signals: Signal, dead: list[DeadLetter] | None = None) -> LoggedSlice:
    slice = SignalSlice("s", "v1", "s/a/0", 0, 9, True, NOW_US, [], list(signals), 0, dead or [], False, NOW_US)
    return LoggedSlice(0, 0, ScoreSlice(slice, "m1", [0.7 for _ in signals], ["" for _ in signals]))


def test_each_signal_is_in_the_rows_of_its_day() -> None:
    late = Signal(0, "", NOW_US - 1, 0, True, "x", "")
    here = Signal(1, "", NOW_US, 0, False, "y", "")
    rows = signal_rows([one_slice(late, here)], lambda _: DEFINITION)
    assert {day: table.column("text").to_pylist() for day, table in rows.items()} == {
        "2024-10-03": ["x"],
        "2024-10-04": ["y"],
    }
    assert day_of(NOW_US) == "2024-10-04"


def test_bad_is_by_the_definition_of_the_slice() -> None:
    scored, counted = (
        Signal(0, "", NOW_US, 0, False, "x", ""),
        Signal(1, "", NOW_US, 0, False, "", "", (), 0, Counted(1, 2)),
    )
    for threshold, bad in ((0.7, True), (0.71, False)):
        definition = Definition(name="s", kind="logs", tick_us=DAY_US, threshold=threshold)
        (table,) = signal_rows([one_slice(scored, counted)], lambda _, d=definition: d).values()  # type: ignore[misc]
        assert table.column("bad").to_pylist() == [bad, None]


def test_while_two_definitions_are_in_force_bad_is_by_that_of_the_signal() -> None:
    before, after = (Signal(n, "", NOW_US + n, 0, False, "x", "") for n in range(2))
    one = one_slice(before, after)
    slice = replace(one.scored.slice, following=Following("v2.2", NOW_US + 1, True, [0], NOW_US + 1))
    definitions = {"v1": DEFINITION, "v2.2": Definition(name="s", kind="logs", tick_us=DAY_US, threshold=0.71)}
    (table,) = signal_rows([one._replace(scored=replace(one.scored, slice=slice))], definitions.__getitem__).values()
    assert table.column("definition").to_pylist() == ["v1", "v2.2"]
    assert table.column("bad").to_pylist() == [True, False]


def test_dead_letters_which_are_unmasked_are_not_archived() -> None:
    letter = DeadLetter(1, NOW_US, "line", "web", b"my secret", "it has no time")
    slice = one_slice(Signal(0, "", NOW_US, 0, False, "x", ""), dead=[letter])
    tables = [list(slice_rows([slice]).values()), list(signal_rows([slice], lambda _: DEFINITION).values())]
    (again,) = rebuilt("s", *tables)
    assert again.scored.slice.dead == []
    assert "secret" not in str([table.to_pylist() for found in tables for table in found])


def test_signals_that_are_missing_are_an_error() -> None:
    slice = one_slice(Signal(0, "", NOW_US - 1, 0, True, "x", ""), Signal(1, "", NOW_US, 0, False, "y", ""))
    _, kept = signal_rows([slice], lambda _: DEFINITION).values()
    with pytest.raises(ArchiveError, match="lacks signals of s/a/0"):
        rebuilt("s", list(slice_rows([slice]).values()), [kept])
    with pytest.raises(ArchiveError):
        rebuilt("s", list(slice_rows([slice]).values()), [SIGNALS.empty_table()])
