"""A matrix that gets columns often: a row a quantity, a column a key."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Columns(Generic[T]):
    """Its rows are contiguous. It keeps room for an eighth more columns: while new keys come in every tick, adding
    them must not copy all the others each time."""

    def __init__(self, values: NDArray[T]) -> None:
        self._room = values
        self._used = values.shape[1]

    @property
    def values(self) -> NDArray[T]:
        """The matrix itself, to read and to change; not to be kept when columns are added or left out."""
        return self._room[:, : self._used]

    def append(self, values: NDArray[T]) -> None:
        used = self._used + values.shape[1]
        if used > self._room.shape[1]:
            room = np.empty((len(self._room), used + used // 8), self._room.dtype)
            room[:, : self._used] = self.values
            self._room = room
        self._room[:, self._used : used] = values
        self._used = used

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Leave out the columns that are not kept; the others move up, in order."""
        self._room = np.ascontiguousarray(self.values[:, kept])
        self._used = self._room.shape[1]
