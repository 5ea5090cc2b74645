"""A bucket: windows and detector of some groups of one stream, as one fold.

Guarantees. A slice is applied only when it follows what the bucket has covered of its partition: an older one is
a duplicate (skipped), a later one a gap (`RangeGap`). A tick closes when every clock of the definition has passed
its end and the lateness; its content is then complete, so verdicts depend neither on how slices were cut nor on
how partitions interleave nor on restarts. Each closed tick is reported once, in order; a run of ticks that
nothing touched is one verdict.
"""

from __future__ import annotations

import msgspec

from pipeline.detect.detector import Detector
from pipeline.errors import RangeGap, StateMismatch
from pipeline.records import (
    LEFT_US,
    Key,
    KeyReport,
    Tally,
    TallySlice,
    Verdict,
    decode,
    encode,
)
from pipeline.streams import Definition
from pipeline.tallies import Sum

#: Sources listed in the evidence of a key.
SOURCES = 10
#: A longer silence is a gap even for streams in which silence is zero: nobody was there to hear it.
LONGEST_SILENCE = 10_000


class BucketState(msgspec.Struct, array_like=True):
    """The saved state: `covered` ends, `watermarks` and the times `reached` by partition, open ticks, and the
    detector's bytes. `ended` are the partitions in which another definition has followed.

    `closed` is the last tick that has closed, `observed` the last that an item or a heartbeat fell in; None before
    the first.
    """

    stream: str
    definition: str
    bucket: int
    covered: dict[str, int] = {}
    watermarks: dict[str, int] = {}
    touched: dict[int, list[str]] = {}
    open: dict[int, dict[Key, Tally]] = {}
    closed: int | None = None
    observed: int | None = None
    detector: bytes = b""
    ended: list[str] = []
    reached: dict[str, int] = {}


class Bucket:
    """Bucket number `bucket` of a stream under one definition."""

    def __init__(self, definition: Definition, bucket: int, state: bytes | None = None) -> None:
        self._definition = definition
        self._ticks = definition.ticks
        version = definition.version
        if state is None:
            self._state = BucketState(definition.name, version, bucket)
            self._detector = Detector(definition)
            return
        self._state = decode(state, BucketState)
        if (self._state.stream, self._state.definition, self._state.bucket) != (definition.name, version, bucket):
            raise StateMismatch(
                f"the saved state of bucket {self._state.bucket} of {self._state.stream} under definition "
                f"{self._state.definition} is not that of bucket {bucket} of {definition.name} under {version}"
            )
        self._detector = Detector.from_bytes(definition, self._state.detector)

    @property
    def finished(self) -> bool:
        """All clocks have left, or moved on to another definition: no tick will ever be counted here again."""
        watermarks, ended = self._state.watermarks, self._state.ended
        return all(watermarks.get(c) == LEFT_US or c in ended for c in self._definition.clocks)

    @property
    def silent(self) -> bool:
        """It has not reported any tick yet."""
        return self._state.closed is None and not self.over

    @property
    def over(self) -> bool:
        """Another definition has followed in every clock: all that may still come are repetitions."""
        return all(clock in self._state.ended for clock in self._definition.clocks)

    def to_bytes(self) -> bytes:
        self._state.detector = self._detector.to_bytes()
        return encode(self._state)

    def apply(self, slice: TallySlice) -> list[Verdict]:
        """Fold one slice; the verdicts of the ticks that it closes, in order. Raises RangeGap."""
        state = self._state
        covered = state.covered.get(slice.partition)
        if covered is None:
            if not slice.begins:
                raise RangeGap(partition=slice.partition, expected=0, got=slice.start)
        elif slice.end <= covered:
            return []
        elif slice.start != covered:
            raise RangeGap(partition=slice.partition, expected=covered, got=slice.start)
        state.covered[slice.partition] = slice.end
        state.watermarks[slice.partition] = slice.watermark_us
        state.reached[slice.partition] = slice.reached_us
        for tick in slice.touched:
            if state.closed is not None and tick <= state.closed:
                continue  # only late signals fell in it
            by = state.touched.setdefault(tick, [])
            if slice.partition not in by:
                by.append(slice.partition)
        for tick, tallies in slice.tallies.items():
            open = state.open.setdefault(tick, {})
            for key, tally in tallies.items():
                before = open.get(key)
                if before is None:
                    open[key] = tally
                elif type(before) is Sum:
                    before.add(tally)
                else:
                    open[key] = Sum.of((before, tally))
        if slice.ends:
            state.ended.append(slice.partition)
        verdicts = self._close()
        if slice.ends and state.closed is not None and self.over:
            after = state.closed + 1
            state.closed = None  # an ended bucket says so once
            verdicts.append(Verdict(state.stream, state.definition, state.bucket, after, after, True, 0, [], True))
        return verdicts

    def _close(self) -> list[Verdict]:
        """Close every tick that all clocks have passed."""
        state = self._state
        try:
            frontier_us = min(state.watermarks[clock] for clock in self._definition.clocks)
        except KeyError:
            return []  # a clock of the stream has not begun
        if state.closed is None and not state.touched:
            return []
        last = max(state.touched, default=state.closed or 0)
        if frontier_us == LEFT_US:
            # All that was touched; and, where clocks left beyond the ticks of this definition, what they had passed.
            reached_us = max(state.reached[clock] for clock in self._definition.clocks)
            through = max(last, self._ticks.index(reached_us - self._definition.lateness_us) - 1)
        else:
            through = self._ticks.index(frontier_us - self._definition.lateness_us) - 1
            if self.over:
                through = max(through, last)
        if state.closed is None:
            first = min(state.touched)
            if through < first:
                return []  # an earlier tick may still be touched
            state.closed = first - 1
        verdicts: list[Verdict] = []
        while state.closed < through:
            following = min(min(state.touched, default=through + 1), through + 1)
            if following > state.closed + 1:
                verdicts.extend(self._silence(state.closed + 1, following - 1))
            if following <= through:
                verdicts.append(self._tick(following))
        return verdicts

    def _silence(self, first: int, last: int) -> list[Verdict]:
        """Ticks that nothing touched: zeros where the stream says so, else a gap that teaches nothing.

        How long a silence has lasted is told by the last tick observed, not by this run: where a run is cut
        depends on the slices.
        """
        state = self._state
        zeros_through = first - 1
        if self._definition.silence == "zero" and state.observed is not None:
            zeros_through = min(last, state.observed + LONGEST_SILENCE)
        verdicts = [self._tick(tick) for tick in range(first, zeros_through + 1)]
        if zeros_through < last:
            state.closed = last
            verdicts.append(self._verdict(max(first, zeros_through + 1), last, True, 0, []))
        return verdicts

    def _tick(self, tick: int) -> Verdict:
        state = self._state
        clocks = self._definition.clocks
        by = state.touched.pop(tick, [])
        if by:
            state.observed = tick
        # Live clocks get heartbeats: one that did not move was away, and its silence says nothing. History has
        # none: a file without a line in this tick had nothing to say.
        observed = (
            self._definition.clock == "data" or self._definition.silence == "zero" or all(c in by for c in clocks)
        )
        complete = observed and not self._is_cut(tick)
        open = state.open.pop(tick, {})
        counts = {key: _counts(tally) if tally.stories else (tally.bad, tally.total) for key, tally in open.items()}
        reports, tested = self._detector.close(tick, counts, complete=complete)
        state.closed = tick
        return self._verdict(tick, tick, False, tested, [self._with_evidence(r, open) for r in reports])

    def _is_cut(self, tick: int) -> bool:
        """Whether a clock left in the middle of this tick or before it, at the end of a file or of a definition: what
        would still have come in it, nobody counted here."""
        begin_us = self._ticks.start_us(tick)
        done_us = self._ticks.end_us(tick) + self._definition.lateness_us
        watermarks, reached = self._state.watermarks, self._state.reached
        return any(
            watermarks[c] < done_us or (watermarks[c] == LEFT_US and begin_us <= reached[c] < done_us)
            for c in self._definition.clocks
        )

    def _with_evidence(self, report: KeyReport, open: dict[Key, Tally]) -> KeyReport:
        tally = open.get((report.group, report.member))
        if tally is None:
            return report
        most = sorted(tally.sources.items(), key=lambda item: (-item[1], item[0]))[:SOURCES]
        return msgspec.structs.replace(report, exemplars=tally.exemplars, sources=dict(most))

    def _verdict(self, first: int, last: int, gap: bool, tested: int, reports: list[KeyReport]) -> Verdict:
        state = self._state
        return Verdict(state.stream, state.definition, state.bucket, first, last, gap, tested, reports)


def _counts(tally: Tally) -> tuple[int, int]:
    """(bad, total), each story once."""
    return tally.bad + sum(tally.stories.values()), tally.total + len(tally.stories)
