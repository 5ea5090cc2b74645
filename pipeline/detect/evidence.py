"""Evidence: what each key's last ticks looked like, in arrays of fixed depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self._bad: NDArray[np.int64] = np.zeros((DEPTH, 0), np.int64)
        self._total: NDArray[np.int64] = np.zeros((DEPTH, 0), np.int64)
        self._expected = np.zeros((DEPTH, 0))

    def add_keys(self, number: int) -> None:
        """Append keys without a past."""
        self._bad = np.hstack((self._bad, np.zeros((DEPTH, number), np.int64)))
        self._total = np.hstack((self._total, np.full((DEPTH, number), _UNBORN, np.int64)))
        self._expected = np.hstack((self._expected, np.zeros((DEPTH, number))))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Forget the keys that are not kept."""
        self._bad, self._total = self._bad[:, kept], self._total[:, kept]
        self._expected = self._expected[:, kept]

    def record(
        self, tick: int, bad: NDArray[np.int64], total: NDArray[np.int64], expected: NDArray[np.float64]
    ) -> None:
        """Take one closed tick of all keys; the oldest makes room."""
        row = self._next
        if len(self._ticks) < DEPTH:
            self._ticks.append(tick)
        else:
            self._ticks[row] = tick
        self._bad[row], self._total[row], self._expected[row] = bad, total, expected
        self._next = (row + 1) % DEPTH

    def series(self, key: int) -> list[tuple[int, int, int, float]]:
        """The ticks of one key as (tick, bad, total, expected), oldest first."""
        used = len(self._ticks)
        first = self._next if used == DEPTH else 0
        rows = [*range(first, used), *range(first)]
        bad, total = self._bad[:, key].tolist(), self._total[:, key].tolist()
        expected = self._expected[:, key].tolist()
        return [(self._ticks[r], bad[r], total[r], expected[r]) for r in rows if total[r] != _UNBORN]

    def to_state(self) -> list[Any]:
        """What `from_state` takes back."""
        return [
            self._ticks, self._next, self._bad.tobytes(), self._total.tobytes(), self._expected.tobytes(),
        ]  # fmt: skip

    @classmethod
    def from_state(cls, state: list[Any]) -> Evidence:
        """The evidence that `to_state` gave. Raises ValueError when the arrays do not fit."""
        evidence = cls()
        evidence._ticks, evidence._next = list(state[0]), state[1]
        evidence._bad = np.frombuffer(state[2], np.int64).reshape(DEPTH, -1).copy()
        evidence._total = np.frombuffer(state[3], np.int64).reshape(DEPTH, -1).copy()
        evidence._expected = np.frombuffer(state[4]).reshape(DEPTH, -1).copy()
        return evidence

    @property
    def keys(self) -> int:
        return int(self._bad.shape[1])
