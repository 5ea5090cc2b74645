"""Evidence: what each key's last ticks looked like, in arrays of fixed depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.columns import Columns

#: How many ticks a surge shows.
DEPTH = 24
_UNBORN = -1


class Evidence:
    """The last DEPTH closed ticks of every key: bad and total as int64, expected as float64 (576 bytes a key).

    Keys are columns, in the caller's order. A gap is not a tick: it leaves no entry.
    """

    def __init__(self) -> None:
        self._ticks: list[int] = []  # of each row that is in use
        self._next = 0
        self._bad = Columns(np.zeros((DEPTH, 0), np.int64))
        self._total = Columns(np.zeros((DEPTH, 0), np.int64))
        self._expected = Columns(np.zeros((DEPTH, 0)))

    def add_keys(self, number: int) -> None:
        """Append keys without a past."""
        self._bad.append(np.zeros((DEPTH, number), np.int64))
        self._total.append(np.full((DEPTH, number), _UNBORN, np.int64))
        self._expected.append(np.zeros((DEPTH, number)))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Forget the keys that are not kept."""
        self._bad.keep(kept)
        self._total.keep(kept)
        self._expected.keep(kept)

    def record(
        self, tick: int, bad: NDArray[np.int64], total: NDArray[np.int64], expected: NDArray[np.float64]
    ) -> None:
        """Take one closed tick of all keys; the oldest makes room."""
        row = self._next
        if len(self._ticks) < DEPTH:
            self._ticks.append(tick)
        else:
            self._ticks[row] = tick
        self._bad.values[row], self._total.values[row], self._expected.values[row] = bad, total, expected
        self._next = (row + 1) % DEPTH

    def series(self, key: int) -> list[tuple[int, int, int, float]]:
        """The ticks of one key as (tick, bad, total, expected), oldest first."""
        used = len(self._ticks)
        first = self._next if used == DEPTH else 0
        rows = [*range(first, used), *range(first)]
        bad, total = self._bad.values[:, key].tolist(), self._total.values[:, key].tolist()
        expected = self._expected.values[:, key].tolist()
        return [(self._ticks[r], bad[r], total[r], expected[r]) for r in rows if total[r] != _UNBORN]

    def to_state(self) -> list[Any]:
        """What `from_state` takes back; counts in as many bytes as they need."""
        counts = [part for matrix in (self._bad, self._total) for part in _narrow(matrix.values)]
        return [self._ticks, self._next, *counts, self._expected.values.tobytes()]

    @classmethod
    def from_state(cls, state: list[Any]) -> Evidence:
        """The evidence that `to_state` gave. Raises ValueError when the arrays do not fit."""
        evidence = cls()
        evidence._ticks, evidence._next = list(state[0]), state[1]
        evidence._bad, evidence._total = Columns(_wide(*state[2:4])), Columns(_wide(*state[4:6]))
        evidence._expected = Columns(np.frombuffer(state[6]).reshape(DEPTH, -1).copy())
        return evidence

    @property
    def keys(self) -> int:
        return int(self._bad.values.shape[1])


def _narrow(counts: NDArray[np.int64]) -> tuple[int, bytes]:
    """Counts as integers of so many bytes: most are small, and they are two thirds of what a key would be saved as."""
    most = max(-int(counts.min(initial=0)) - 1, int(counts.max(initial=0)))
    width = next(width for width in (1, 2, 4, 8) if most < 1 << (8 * width - 1))
    return width, counts.astype(f"<i{width}").tobytes()


def _wide(width: int, saved: bytes) -> NDArray[np.int64]:
    return np.frombuffer(saved, f"<i{width}").reshape(DEPTH, -1).astype(np.int64)
