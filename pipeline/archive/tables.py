"""The tables of the archive: which columns they have, and how slices become rows and rows become slices again.

Three tables, parted by stream and day of event time (UTC): `signals` has a row for each signal with its score, for
people and their tools; `slices` a row for each slice of a clock; `states` the state of a stream's folds. A slice that
is rebuilt from its rows is the one that was written, bit for bit, but for dead letters: they are unmasked, and kept in
`dead_letters` alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.errors import ArchiveError
from pipeline.instants import to_datetime
from pipeline.records import Counted, Following, ScoreSlice, Signal, SignalSlice
from pipeline.streams import Definition

_TIME = pa.timestamp("us", tz="UTC")

SIGNALS = pa.schema(
    [
        ("clock", pa.string()),
        ("position", pa.int64()),
        ("id", pa.string()),
        ("time", _TIME),
        ("tick", pa.int64()),
        ("late", pa.bool_()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("values", pa.list_(pa.string())),
        ("story", pa.int64()),
        ("counted_bad", pa.int64()),
        ("counted_total", pa.int64()),
        ("probability", pa.float64()),
        ("topic", pa.string()),
        ("bad", pa.bool_()),
        ("model", pa.string()),
        ("definition", pa.string()),
    ]
)
SLICES = pa.schema(
    [
        ("log_partition", pa.int32()),
        ("log_offset", pa.int64()),
        ("clock", pa.string()),
        ("definition", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("begins", pa.bool_()),
        ("ends", pa.bool_()),
        ("watermark_us", pa.int64()),
        ("reached_us", pa.int64()),
        ("touched", pa.list_(pa.int64())),
        ("duplicates", pa.int64()),
        ("signals", pa.int64()),
        ("model", pa.string()),
        ("following", pa.string()),
        ("following_from_us", pa.int64()),
        ("following_begins", pa.bool_()),
        ("following_touched", pa.list_(pa.int64())),
        ("following_watermark_us", pa.int64()),
    ]
)
STATES = pa.schema([("closed_us", pa.int64()), ("settled_us", pa.int64()), ("state", pa.binary())])


class LoggedSlice(NamedTuple):
    """A scored slice and where in the score log it stands."""

    partition: int
    offset: int
    scored: ScoreSlice


def day_of(time_us: int) -> str:
    """The day of an instant, in UTC."""
    return to_datetime(time_us).date().isoformat()


def signal_rows(slices: Iterable[LoggedSlice], definition_of: Callable[[str], Definition]) -> dict[str, pa.Table]:
    """The signals of a stream's slices, by day of their event time; by clock and position in each."""
    days: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for one in slices:
        scored, slice = one.scored, one.scored.slice
        names = [slice.definition, *([slice.following.definition] if slice.following else [])]
        threshold = {name: round(definition_of(name).threshold * 1_000_000) for name in names}
        for s, probability, topic in zip(slice.signals, scored.probabilities, scored.topics, strict=True):
            counted, definition = s.counted, slice.definition_at(s.time_us)
            bad = None if counted else round(probability * 1_000_000) >= threshold[definition]
            days[day_of(s.time_us)].append(
                (
                    *(slice.partition, s.position, s.id, s.time_us, s.tick, s.late, s.text, s.source, s.values),
                    *(s.story, counted and counted.bad, counted and counted.total, probability, topic, bad),
                    *(scored.model, definition),
                )
            )
    return {day: _table(SIGNALS, sorted(rows, key=lambda row: row[:2])) for day, rows in days.items()}


def slice_rows(slices: Iterable[LoggedSlice]) -> dict[str, pa.Table]:
    """The slices of a stream without their signals, by day of the greatest event time seen."""
    days: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for partition, offset, scored in slices:
        s = scored.slice
        f = s.following
        days[day_of(s.reached_us)].append(
            (
                *(partition, offset, s.partition, s.definition, s.start, s.end, s.begins, s.ends, s.watermark_us),
                *(s.reached_us, s.touched, s.duplicates, len(s.signals), scored.model),
                *((f.definition, f.from_us, f.begins, f.touched, f.watermark_us) if f else [None] * 5),
            )
        )
    return {day: _table(SLICES, rows) for day, rows in days.items()}


def rebuilt(stream: str, slices: Sequence[pa.Table], signals: Sequence[pa.Table]) -> list[LoggedSlice]:
    """The slices of one chunk, in the order of the log, given all its tables of a stream. Raises ArchiveError."""
    by_clock: dict[str, list[tuple[Signal, float, str]]] = defaultdict(list)
    for table in signals:
        for clock, *here, bad, total, probability, topic in _signal_columns(table):
            counted = None if total is None else Counted(bad, total)
            position, id, time_us, tick, late, text, source, values, story = here
            signal = Signal(position, id, time_us, tick, late, text, source, tuple(values), story, counted)
            by_clock[clock].append((signal, probability, topic))
    for found in by_clock.values():
        found.sort(key=lambda one: one[0].position)
    rows = sorted(row for table in slices for row in zip(*_columns(table, SLICES.names), strict=True))
    taken: dict[str, int] = defaultdict(int)
    made = []
    for row in rows:
        partition, offset, clock, definition, start, end, begins, ends = row[:8]
        watermark_us, reached_us, touched, duplicates, count, model, following = row[8:15]
        found = by_clock[clock][taken[clock] : taken[clock] + count]
        taken[clock] += count
        if len(found) != count or any(not start <= one[0].position < end for one in found):
            raise ArchiveError(
                f"the archive of stream {stream} lacks signals of {clock} between {start} and {end}; restore its "
                "folder from a backup"
            )
        slice = SignalSlice(
            *(stream, definition, clock, start, end, begins, watermark_us, touched, [one[0] for one in found]),
            *(duplicates, [], ends, reached_us, None if following is None else Following(following, *row[15:])),
        )
        made.append(
            LoggedSlice(partition, offset, ScoreSlice(slice, model, [o[1] for o in found], [o[2] for o in found]))
        )
    return made


def _signal_columns(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    names = [name for name in SIGNALS.names if name not in ("bad", "model", "definition")]
    return zip(*_columns(table, names), strict=True)


def _columns(table: pa.Table, names: Sequence[str]) -> list[list[Any]]:
    """Columns as Python values, instants as integers."""
    columns = [table.column(name) for name in names]
    return [(c.cast(pa.int64()) if c.type == _TIME else c).to_pylist() for c in columns]


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
