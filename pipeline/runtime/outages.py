"""Sources that are down: an alarm of the shells, by real time, outside the folds."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

#: Seconds that a source must fail before people are told.
DOWN_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A source that is down: its partition, since when (wall clock), and whether it is over."""

    partition: str
    since_us: int
    over: bool


@dataclass(slots=True)
class OutageWatch:
    """Watches sources. Give it those that fail every few seconds."""

    partitions: frozenset[str]
    _since: dict[str, tuple[int, float]] = field(default_factory=dict)
    _down: dict[str, int] = field(default_factory=dict)
    _judged: set[str] = field(default_factory=set)
    _began_s: float | None = None

    def look(self, failing: AbstractSet[str], now_us: int, elapsed_s: float) -> list[Outage]:
        """What is news: sources that are down, and outages that are over. `now_us` is the wall clock, which only names
        instants; `elapsed_s` is one that nobody sets.

        A source that works a while after the start is news as well: a process before this one may have called it
        down.
        """
        if self._began_s is None:
            self._began_s = elapsed_s
        news: list[Outage] = []
        for partition in sorted(self.partitions):
            if partition in failing:
                since_us, since_s = self._since.setdefault(partition, (now_us, elapsed_s))
                if elapsed_s - since_s >= DOWN_AFTER_S and partition not in self._down:
                    self._down[partition] = since_us
                    self._judged.add(partition)
                    news.append(Outage(partition, since_us, over=False))
                continue
            self._since.pop(partition, None)
            unjudged = partition not in self._judged and elapsed_s - self._began_s >= DOWN_AFTER_S
            if partition in self._down or unjudged:
                self._judged.add(partition)
                news.append(Outage(partition, self._down.pop(partition, now_us), over=True))
        return news
