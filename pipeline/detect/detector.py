"""The detector: all keys of one bucket of one stream, one closed tick at a time.

A fold: state and counts in, reports out; no clock, no randomness, no I/O. A key's reports depend on the counts of
that key and its group alone, never on the other keys of the bucket or on the order in which they came, so any
split of groups into buckets says the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.detect.columns import Columns
from pipeline.detect.discovery import P_MAX, level
from pipeline.detect.evidence import Evidence
from pipeline.detect.forecast import Floats
from pipeline.detect.roster import OTHER, Counts, Roster
from pipeline.detect.screening import Screened, Screening
from pipeline.detect.tail import interval
from pipeline.errors import StateMismatch, UnknownRecord
from pipeline.records import Key, KeyReport
from pipeline.streams import Definition

FORMAT = 1
#: A key without an item for this many half-lives of its level is forgotten: its expectation has long been zero.
FORGET_HALF_LIVES = 10.0


class _State(msgspec.Struct, array_like=True):
    """What `Detector.to_bytes` writes: names and arrays."""

    format: int
    definition: str
    tick: int | None
    groups: list[str]
    members: list[str]
    rows: int
    columns: bytes
    evidence: list[object]


class Detector:
    """Counts in, reports out. State a key: 304 bytes at two harmonics (plus 576 of evidence and its name)."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._screening = Screening(definition)
        first = self._screening.rows
        self._use, self._seen, self._watch_up, self._watch_down = range(first, first + 4)
        self._rows = first + 4
        self._limit = min(P_MAX, level(definition))
        half_life = self._screening.forecast.level_half_life
        self._use_rate = math.log(2) / half_life
        self._forget = FORGET_HALF_LIVES * half_life
        self._tick: int | None = None
        self._roster = Roster()
        self._columns = Columns(np.zeros((self._rows, 0)))
        self._evidence = Evidence()

    @property
    def _x(self) -> Floats:
        return self._columns.values

    def close(self, tick: int, counts: Counts, *, complete: bool = True) -> tuple[list[KeyReport], int]:
        """Close one tick that was touched; skipped ticks are gaps and teach nothing.

        `counts` maps (group, member) to (bad, total), with the group itself as member "". A known key that is
        missing has counted nothing: zero for a number, no information for a share. When the tick is not
        `complete`, a clock of the stream was away and counts may be too small: keys with items are tested for a
        rise, none for a drop, and none learns.

        Returns the reports, sorted by group, member and direction, and the number of tests made: one a key, two
        where a drop could show, none for keys that are learning or had nothing to share. Reported are keys whose
        p-value falls to `min(P_MAX, level)`, then until it was above P_MAX for `resolve_ticks` ticks; only those at
        or below P_MAX carry their series. Raises ValueError when `tick` is not above the last one."""
        if self._tick is not None and tick <= self._tick:
            raise ValueError(f"tick {tick} closes after tick {self._tick}")
        steps = 0 if self._tick is None else tick - self._tick
        self._tick = tick
        use = self._x[self._use]
        use *= math.exp(-self._use_rate * steps)
        bad, total = self._admit(tick, counts)
        x = self._x
        x[self._use] += total
        x[self._seen][total > 0] = float(tick)
        only_present = self._definition.count == "share" or not complete
        chosen = np.nonzero(total > 0)[0] if only_present else np.arange(len(bad))
        part = x if len(chosen) == len(bad) and complete else np.take(x, chosen, axis=1)
        screened = self._screening.screen(
            part, bad[chosen].astype(np.float64), np.maximum(total[chosen], 1).astype(np.float64), tick
        )
        if not complete:
            no_drop = np.zeros(len(chosen), np.bool_)
            screened = replace(screened, p_down=np.ones(len(chosen)), testable_down=no_drop)
        elif part is not x:
            x[:, chosen] = part
        expected = np.zeros(len(bad))
        expected[chosen] = screened.expected
        self._evidence.record(tick, bad, total, expected)
        reports = self._reports(chosen, bad, total, screened)
        able = ~screened.learning
        tested = int(able.sum())
        if self._definition.drops:
            tested += int((able & screened.testable_down).sum())
        self._forget_silent(tick)
        return reports, tested

    def _admit(self, tick: int, counts: Counts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Make room for new keys; the counts of all keys in the order of their columns."""
        new = self._roster.newcomers(counts)
        limit = self._definition.max_members
        out = self._roster.crowded_out(new, counts, self._x[self._use], limit) if new else set()
        if out:
            kept = np.array([name not in out for name in self._roster.names], np.bool_)
            if not kept.all():
                self._keep(kept)
            merged: dict[Key, tuple[int, int]] = {}
            for name, (b, n) in counts.items():
                name = (name[0], OTHER) if name in out else name
                before = merged.get(name, (0, 0))
                merged[name] = (before[0] + b, before[1] + n)
            counts, new = merged, self._roster.newcomers(merged)
        if new:
            self._add(tick, sorted(new))
        column = self._roster.column
        at = np.fromiter(map(column.__getitem__, counts), np.intp, len(counts))
        values = np.fromiter(chain.from_iterable(counts.values()), np.int64, 2 * len(counts))
        bad, total = np.zeros(len(column), np.int64), np.zeros(len(column), np.int64)
        bad[at], total[at] = values[::2], values[1::2]
        return bad, total

    def _add(self, tick: int, names: list[Key]) -> None:
        # The new members of a group begin alike.
        alike: dict[int | None, Floats] = {}
        born = np.zeros((self._rows, len(names)))
        for i, (group, member) in enumerate(names):
            at = self._roster.column.get((group, "")) if member else None
            if at not in alike:
                alike[at] = self._screening.born(tick, None if at is None else self._x[:, at])
            born[: self._screening.rows, i] = alike[at]
        self._columns.append(born)
        self._roster.add(names)
        self._evidence.add_keys(len(names))

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self._roster = self._roster.keeping(kept.tolist())
        self._columns.keep(kept)
        self._evidence.keep(kept)

    def _forget_silent(self, tick: int) -> None:
        silent = tick - self._x[self._seen] > self._forget
        if silent.any():
            self._keep(~silent)

    def _reports(
        self, chosen: NDArray[np.intp], bad: NDArray[np.int64], total: NDArray[np.int64], s: Screened
    ) -> list[KeyReport]:
        reports: list[KeyReport] = []
        x, names = self._x, self._roster.names
        sides = [("up", self._watch_up, s.p_up, s.chart_up)]
        if self._definition.drops:
            sides.append(("down", self._watch_down, s.p_down, s.chart_down))
        for direction, row, p, chart in sides:
            watch = x[row]
            watched = watch[chosen]
            now = (p <= self._limit) | ((watched > 0) & (p <= P_MAX))
            told = np.nonzero(now | (watched > 0))[0]
            np.maximum(watch - 1.0, 0.0, out=watch)
            watch[chosen[now]] = float(self._definition.resolve_ticks)
            if not told.size:
                continue
            low, high = interval(s.expected[told], s.variance[told])
            for k, at in enumerate(told.tolist()):
                key = int(chosen[at])
                group, member = names[key]
                reports.append(
                    KeyReport(
                        group=group,
                        member=member,
                        observed=int(bad[key]),
                        total=int(total[key]),
                        expected=float(s.expected[at]),
                        low=float(low[k]),
                        high=float(high[k]),
                        p=float(p[at]),
                        z=float(s.z[at]),
                        chart=float(chart[at]),
                        direction=direction,  # type: ignore[arg-type]
                        learning=bool(s.learning[at]),
                        series=self._evidence.series(key) if p[at] <= P_MAX else [],
                    )
                )
        reports.sort(key=lambda r: (r.group, r.member, r.direction))
        return reports

    def to_bytes(self) -> bytes:
        """The whole state; the same past gives the same bytes."""
        names = self._roster.names
        return msgspec.msgpack.encode(
            _State(
                FORMAT,
                self._definition.version,
                self._tick,
                [g for g, _ in names],
                [m for _, m in names],
                self._rows,
                self._x.tobytes(),
                self._evidence.to_state(),
            )
        )

    @classmethod
    def from_bytes(cls, definition: Definition, data: bytes | memoryview) -> Detector:
        """The detector that `to_bytes` saved. Raises UnknownRecord for bytes of another format, StateMismatch
        for the state of another definition."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
            if state.format != FORMAT:
                raise UnknownRecord(f"detector state of format {state.format}; this program knows {FORMAT}")
            if state.definition != definition.version:
                raise StateMismatch(
                    f"stream {definition.name}: the saved detector belongs to definition {state.definition}, "
                    f"not {definition.version}; replay the stream into a new generation"
                )
            detector = cls(definition)
            detector._tick = state.tick
            detector._roster = Roster(list(zip(state.groups, state.members, strict=True)))
            columns: Floats = np.frombuffer(state.columns).reshape(state.rows, -1).copy()
            detector._evidence = Evidence.from_state(state.evidence)
            keys = len(detector._roster.names)
            if columns.shape != (detector._rows, keys) or detector._evidence.keys != keys:
                raise ValueError(f"{columns.shape} columns for {keys} keys")
            detector._columns = Columns(columns)
        except (msgspec.MsgspecError, ValueError, TypeError, IndexError) as error:
            raise UnknownRecord(f"damaged detector state: {error}; restore it from a backup") from error
        return detector
