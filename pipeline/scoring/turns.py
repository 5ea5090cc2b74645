"""One engine for several threads, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from pipeline.scoring.engine import Engine, Score, Tokens

#: Batches in one turn: a device has the next one at hand, and others wait no longer than these take.
TOGETHER = 4


class EngineInTurns:
    """An engine whose callers wait for each other, first come first served.

    A plain lock would not do: who has a long backlog takes it again before another has woken up. Ordering: calls are
    answered in the order in which they came. The rest is as with the engine itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name
        self.precision = engine.precision
        self.version = engine.version
        self._changed = threading.Condition()
        self._given = 0
        self._served = 0

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        with self._turn():
            return self._engine.encode(texts, kind)

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        with self._turn():
            return self._engine.score(batch)

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        rest = iter(batches)
        while some := list(islice(rest, TOGETHER)):
            with self._turn():
                scored = list(self._engine.score_each(some))
            yield from scored

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._changed:
            mine = self._given
            self._given += 1
            self._changed.wait_for(lambda: self._served == mine)
        try:
            yield
        finally:
            with self._changed:
                self._served += 1
                self._changed.notify_all()
