"""The template cache: scores by scored text.

A cache is never the truth: scores are recorded with the slice that they belong to, and a lost cache costs time
only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

import xxhash

from pipeline.scoring.engine import Score


class SharedCache(Protocol):
    """A cache behind the one in memory, shared by processes and kept over restarts.

    A version names weights, engine and precision. Delivery: best effort; either call may forget. Ordering: none.
    Idempotence: storing twice is harmless.
    Raises: nothing; a cache that is away finds nothing.
    """

    def find(self, version: str, texts: Sequence[str]) -> Mapping[str, Score]:
        """The scores that it has for these texts under this model version."""

    def store(self, version: str, scores: Mapping[str, Score]) -> None:
        """Keep these scores."""


class ScoreCache:
    """The most recently used scores of one model version, at most `entries` of them."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._scores: OrderedDict[str | bytes, Score] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._scores)

    def clear(self) -> None:
        """Forget every score; the counts go on."""
        self._scores.clear()

    def get(self, text: str) -> Score | None:
        key = _key(text)
        score = self._scores.get(key)
        if score is None:
            self.misses += 1
        else:
            self.hits += 1
            self._scores.move_to_end(key)
        return score

    def put(self, text: str, score: Score) -> None:
        key = _key(text)
        self._scores[key] = score
        self._scores.move_to_end(key)
        if len(self._scores) > self._entries:
            self._scores.popitem(last=False)


def _key(text: str) -> str | bytes:
    """A short text is its own key; a long one is stood for by 128 bits, so that memory is bounded by entries."""
    if len(text) <= 256:
        return text
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))
