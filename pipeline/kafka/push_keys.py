"""The idempotency keys that a process remembers: which push was stored under each, and where."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipeline.errors import KeyReused


class KeyPlace(NamedTuple):
    """A key of one raw partition; each partition has keys of its own."""

    partition: str
    key: str


class PushKeys:
    """The last `limit` keys. Safe for any number of threads. It ends with the process.

    Idempotence: of several pushes under one key at once, one is let through; the others wait for what becomes of it.
    Raises: KeyReused for a key that is remembered with another body.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._known: OrderedDict[KeyPlace, tuple[int, int, bytes]] = OrderedDict()
        self._under_way: set[KeyPlace] = set()
        self._changed = threading.Condition()

    @contextmanager
    def claimed(self, place: KeyPlace, digest: bytes) -> Iterator[tuple[int, int] | None]:
        """The range that was stored under a key; None for who may store now, alone until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: place not in self._under_way)
            known = self._known.get(place)
            if known is None:
                self._under_way.add(place)
        if known is not None:
            if known[2] != digest:
                raise KeyReused
            yield known[:2]
            return
        try:
            yield None
        finally:
            with self._changed:
                self._under_way.discard(place)
                self._changed.notify_all()

    def remember(self, place: KeyPlace, start: int, end: int, digest: bytes) -> None:
        """A push was stored."""
        with self._changed:
            self._known[place] = (start, end, digest)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
