"""The scoring step: a slice of signals in, the same slice with its scores out.

Each distinct scored text of a slice is looked up, then computed once. What comes out is recorded; detection and
replay read the record and never compute a score again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.records import ScoreSlice, SignalSlice
from pipeline.scoring.cache import ScoreCache, SharedCache
from pipeline.scoring.engine import Engine, Score
from pipeline.scoring.text_scores import TextScores

_COUNTED = Score(0.0, "")


class Scorer:
    """Scores slices with one engine, through a cache in memory and perhaps a shared one behind it."""

    def __init__(
        self,
        engine: Engine,
        *,
        cache_entries: int,
        batch_tokens: int,
        shared: SharedCache | None = None,
        live: Callable[[], Engine] | None = None,
    ) -> None:
        """As for `TextScores`."""
        self._scores = TextScores(
            engine, cache_entries=cache_entries, batch_tokens=batch_tokens, shared=shared, live=live
        )

    @property
    def version(self) -> str:
        """The version of the model that scores."""
        return self._scores.version

    @property
    def cache(self) -> ScoreCache:
        return self._scores.cache

    def score(self, slice: SignalSlice, kind: str) -> ScoreSlice:
        """The scores of a slice. Raises ModelError when the engine cannot run."""
        return self.score_all([slice], kind)[0]

    def score_all(self, slices: Sequence[SignalSlice], kind: str) -> list[ScoreSlice]:
        """The scores of several slices of one kind, computed in common batches by one version. Raises ModelError."""
        self._scores.renew()
        texts = [s.text for slice in slices for s in slice.signals if s.counted is None]
        results = iter(self._scores.score(texts, kind))
        scored = []
        for slice in slices:
            scores = [next(results) if s.counted is None else _COUNTED for s in slice.signals]
            scored.append(
                ScoreSlice(
                    slice=slice,
                    model=self._scores.version,
                    probabilities=[s.probability for s in scores],
                    topics=[s.topic for s in scores],
                )
            )
        return scored
