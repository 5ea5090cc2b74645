"""The memory for ids: which brought ids a raw partition has seen lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class SeenIds:
    """The last `limit` distinct ids of one raw partition, in the order in which they first came.

    It is no part of the fold's saved state: after a restart it is rebuilt from the ids in the fold's own output,
    in order (`remember`), which gives the same memory.
    """

    __slots__ = ("_ids", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def keep(self, limit: int) -> None:
        """Remember so many from now on."""
        self._limit = limit
        while len(self._ids) > limit:
            self._ids.popitem(last=False)

    def __len__(self) -> int:
        return len(self._ids)

    def is_new(self, id: str) -> bool:
        """True when the id has not been seen; it is remembered from now on."""
        if id in self._ids:
            return False
        self._ids[id] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)
        return True

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def remember(self, ids: Iterable[str]) -> None:
        """Take in ids that the fold gave out before a restart, oldest first."""
        for id in ids:
            self.is_new(id)
