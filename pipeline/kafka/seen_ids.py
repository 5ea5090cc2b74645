"""The way back to the memory for ids: from which offset of `signals` on ingest must read its own output. Pure."""

from __future__ import annotations

from collections import deque

from pipeline.kafka.ingest_state import NO_IDS


class IdTrail:
    """Where the slices of one clock stand in `signals` that hold its last `limit` brought ids, and perhaps more."""

    def __init__(self, limit: int, ids_from: int = NO_IDS) -> None:
        self._limit = limit
        self._slices: deque[tuple[int, int]] = deque()  # offset, ids
        self._ids = 0
        self._from = ids_from

    @property
    def ids_from(self) -> int:
        """The offset to read from; NO_IDS when no slice has brought an id."""
        return self._from

    def keep(self, limit: int) -> None:
        """So many ids are remembered from now on."""
        self._limit = limit

    def expect(self, ids: int) -> None:
        """A slice with so many ids is about to be written, nobody knows where yet."""
        if ids and self._from == NO_IDS:
            self._from = 0

    def add(self, offset: int, ids: int) -> None:
        """A slice with so many ids stands at `offset`."""
        if not ids:
            return
        if not self._slices and self._from in (NO_IDS, 0):
            self._from = offset
        self._slices.append((offset, ids))
        self._ids += ids
        while self._ids - self._slices[0][1] >= self._limit:
            self._ids -= self._slices.popleft()[1]
            self._from = self._slices[0][0]
