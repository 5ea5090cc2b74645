"""Replay of a range of history: from the archive, then from the score log behind it, isolated.

Scores are read, never computed, so the transitions are those that live gave, bit for bit. Each stream begins at the
newest archived state before the range, else where its history begins, and ends where the last tick of the range has
closed, or history does. With other scores (`rescore`) it begins where history does: what a stream's usual count is
must have been learned from the same scores.
Nothing is stored or delivered here, and live is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from alerts.routing import LIVE_RUN
from pipeline.archive.archive import Archive
from pipeline.archive.folding import DefinitionOf
from pipeline.archive.tables import LoggedSlice
from pipeline.errors import LogLost, RangeGap
from pipeline.records import LEFT_US, Transition
from pipeline.scored_flow import ScoredFlow

#: The same slices, perhaps with other scores.
Rescore = Callable[[Iterable[LoggedSlice]], Iterator[LoggedSlice]]


class ScoreLog(Protocol):
    """The score log behind an archive."""

    def after(self, positions: Mapping[int, int], advice: str) -> Generator[LoggedSlice]:
        """What follows a position in each partition, to the end as of now. Raises LogLost, with advice, where it is
        not there any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one slice gave: transitions within the range, and how far through the range its stream is (0 to 1)."""

    stream: str
    signals: int
    transitions: list[Transition]
    part: float


class HistoryReplay:
    """The ticks of some streams that begin in `[from_us, to_us)`. `log` is None where only an archive is read."""

    def __init__(
        self,
        streams: Iterable[str],
        definition_of: DefinitionOf,
        *,
        archive: Archive,
        log: ScoreLog | None,
        from_us: int,
        to_us: int,
        rescore: Rescore | None = None,
    ) -> None:
        self._streams = list(streams)
        self._definition_of = definition_of
        self._archive = archive
        self._log = log
        self._from_us = from_us
        self.to_us = to_us
        self._rescore = rescore
        #: The folds of each stream that has begun.
        self.flows: dict[str, ScoredFlow] = {}
        #: The number of the chunk whose state each took; 0 for one that began where its history begins.
        self.began_after: dict[str, int] = {}
        self._began_us: dict[str, int] = {}

    def range_of(self, stream: str) -> tuple[int, int]:
        """The range, as far as ticks of a stream have closed in it."""
        closed_us = self.flows[stream].closed_us
        return self._from_us, max(self._from_us, min(self.to_us, closed_us))

    def steps(self) -> Iterator[Step]:
        """Fold the range. Raises LogLost where a part of history is nowhere, ArchiveError, BrokerUnavailable."""
        waiting = set(self._streams)
        for stream in self._streams:
            after = self._begin(stream)
            for one in self._scored(self._archive.slices(stream, after)):
                yield self._step(stream, one)
                if self._is_over(stream, one):
                    waiting.discard(stream)
                    break
        if not waiting or self._log is None:
            return
        head = self._archive.head
        with closing(self._log.after(head.positions if head else {}, _BEHIND if head else _BEFORE)) as slices:
            for one in self._scored(one for one in slices if one.scored.slice.stream in waiting):
                stream = one.scored.slice.stream
                if stream not in waiting:
                    continue
                yield self._step(stream, one)
                if self._is_over(stream, one):
                    waiting.discard(stream)
                    if not waiting:
                        return

    def _begin(self, stream: str) -> int:
        """Make a stream's folds; the chunk after which its slices are read."""
        kept = None if self._rescore else self._archive.state(stream, closed_by_us=self._from_us)
        number = 0 if kept is None else kept[0]
        if kept is None:
            flow = ScoredFlow(stream, lambda generation: self._definition_of(stream, generation), run=LIVE_RUN)
        else:
            flow = ScoredFlow.from_bytes(
                stream, lambda generation: self._definition_of(stream, generation), kept[1], run=LIVE_RUN
            )
        self.flows[stream], self.began_after[stream] = flow, number
        return number

    def _scored(self, slices: Iterable[LoggedSlice]) -> Iterator[LoggedSlice]:
        return iter(slices) if self._rescore is None else self._rescore(slices)

    def _step(self, stream: str, one: LoggedSlice) -> Step:
        slice = one.scored.slice
        try:
            found = self.flows[stream].apply(one.scored)
        except RangeGap as gap:
            what = f"{gap.partition} from position {gap.expected} to {gap.got}"
            raise LogLost(
                f"the history of {what} is neither in {self._archive.folder} nor in the log: "
                + ("replay needs it from its beginning on" if not gap.expected else "replay cannot cross this hole")
                + "; name a range that a state from before covers, or restore the archive"
            ) from gap
        begun_us = self._began_us.setdefault(stream, slice.reached_us)
        part = (slice.reached_us - begun_us) / max(1, self.to_us - begun_us)
        within = [t for t in found if self._from_us <= t.tick_us < self.to_us]
        return Step(stream, len(slice.signals), within, min(max(part, 0.0), 1.0))

    def _is_over(self, stream: str, one: LoggedSlice) -> bool:
        slice = one.scored.slice
        if slice.watermark_us != LEFT_US and slice.reached_us < self.to_us:
            return False  # it cannot have been the one that closed the last tick
        return self.flows[stream].has_settled(self.to_us)


_BEHIND = (
    "between the archive's end and the log's beginning history is lost. Nothing was skipped. Name a range that ends "
    "before, or archive more often than history_days"
)
_BEFORE = "without an archive replay needs the log from its beginning on: run `tocsin archive` before history_days pass"
