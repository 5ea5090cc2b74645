"""Stalled clocks: an alarm of the shells, by real time, outside the folds.

A clock that stands still holds every tick of its stream open: no surge can be seen. The folds wait, as they must;
people are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.instants import SECOND_US
from pipeline.records import LEFT_US
from pipeline.streams import Definition


@dataclass(frozen=True, slots=True)
class Stall:
    """A clock that stands still: since when (wall clock), and whether it is over."""

    partition: str
    since_us: int
    over: bool


@dataclass(slots=True)
class StallWatch:
    """Watches the clocks of one stream. Give it their watermarks every few seconds."""

    definition: Definition
    _moved: dict[str, tuple[int | None, int, float]] = field(default_factory=dict)
    _stalled: dict[str, int] = field(default_factory=dict)
    _judged: set[str] = field(default_factory=set)

    def look(self, watermarks: Mapping[str, int | None], now_us: int, elapsed_s: float) -> list[Stall]:
        """What is news: clocks that have stalled, and stalls that are over. A clock that is not in `watermarks` is not
        known yet. `now_us` is the wall clock, which only names instants; `elapsed_s` is one that nobody sets.

        A clock that is first seen to move is news as well: a process before this one may have called it stalled.
        Live, a clock must move, since idle sources get heartbeats. In a stream whose publishers keep the clock, it
        is stalled only while another clock of the stream is ahead and waits for it.
        """
        news: list[Stall] = []
        known = [w for w in watermarks.values() if w is not None and w != LEFT_US]
        ahead = max(known, default=None)
        for partition in self.definition.clocks:
            if partition not in watermarks:
                continue
            watermark = watermarks[partition]
            before = self._moved.get(partition)
            moved = before is not None and before[0] != watermark
            if before is None or moved or watermark == LEFT_US:
                self._moved[partition] = (watermark, now_us, elapsed_s)
            _, since_us, since_s = self._moved[partition]
            waited_for = self.definition.clock == "arrival" or (
                ahead is not None and (watermark is None or watermark < ahead)
            )
            stalled = waited_for and elapsed_s - since_s >= self.definition.stall_after_us / SECOND_US
            if stalled and partition not in self._stalled:
                self._stalled[partition] = since_us
                self._judged.add(partition)
                news.append(Stall(partition, since_us, over=False))
            elif not stalled and (partition in self._stalled or (moved and partition not in self._judged)):
                self._judged.add(partition)
                news.append(Stall(partition, self._stalled.pop(partition, since_us), over=True))
        return news
