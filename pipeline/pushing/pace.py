"""The pace of a push: when the next items are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.pushing.batch import Run


class Pace(Protocol):
    """Says when a run is due, in seconds since the push began; 0 for at once. Runs come in the order of sending."""

    def due_s(self, run: Run) -> float: ...


class AtOnce:
    """As fast as they are taken."""

    def due_s(self, run: Run) -> float:
        return 0.0


@dataclass
class AtRate:
    """So many items a second."""

    items_a_second: float
    _sent: int = 0

    def due_s(self, run: Run) -> float:
        due_s = self._sent / self.items_a_second
        self._sent += len(run.payloads)
        return due_s


@dataclass
class AtSpeed:
    """As they happened, so many times faster: by the event times of the items, from the first on."""

    times_faster: float
    _first_us: int | None = None

    def due_s(self, run: Run) -> float:
        if run.time_us is None:
            return 0.0
        if self._first_us is None:
            self._first_us = run.time_us
        return (run.time_us - self._first_us) / 1e6 / self.times_faster
