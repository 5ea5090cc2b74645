"""The scoring step: a slice of signals in, the same slice with its scores out.

Each distinct scored text of a slice is looked up, then computed once. What comes out is recorded; detection and
replay read the record and never compute a score again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import ScoreSlice, SignalSlice
from pipeline.scoring.batches import plan_batches
from pipeline.scoring.cache import ScoreCache, SharedCache
from pipeline.scoring.engine import Engine, Score
from pipeline.scoring.template import scored_texts

_COUNTED = Score(0.0, "")


class Scorer:
    """Scores slices with one engine, through a cache in memory and perhaps a shared one behind it."""

    def __init__(
        self, engine: Engine, *, cache_entries: int, batch_tokens: int, shared: SharedCache | None = None
    ) -> None:
        self._engine = engine
        self._cache = ScoreCache(cache_entries)
        self._batch_tokens = batch_tokens
        self._shared = shared

    @property
    def version(self) -> str:
        """The version of the model that scores."""
        return self._engine.version

    @property
    def cache(self) -> ScoreCache:
        return self._cache

    def score(self, slice: SignalSlice, kind: str) -> ScoreSlice:
        """The scores of a slice. Raises ModelError when the engine cannot run."""
        return self.score_all([slice], kind)[0]

    def score_all(self, slices: Sequence[SignalSlice], kind: str) -> list[ScoreSlice]:
        """The scores of several slices of one kind, computed in common batches. Raises ModelError."""
        texts = [s.text for slice in slices for s in slice.signals if s.counted is None]
        results = iter(self._scores(scored_texts(kind, texts), kind))
        scored = []
        for slice in slices:
            scores = [next(results) if s.counted is None else _COUNTED for s in slice.signals]
            scored.append(
                ScoreSlice(
                    slice=slice,
                    model=self._engine.version,
                    probabilities=[s.probability for s in scores],
                    topics=[s.topic for s in scores],
                )
            )
        return scored

    def _scores(self, texts: Sequence[str], kind: str) -> list[Score]:
        get = self._cache.get
        found: dict[str, Score] = {}
        missing: dict[str, None] = {}
        for text in texts:
            if text in found or text in missing:
                continue
            score = get(text)
            if score is None:
                missing[text] = None
            else:
                found[text] = score
        if missing:
            found.update(self._compute(list(missing), kind))
        return [found[text] for text in texts]

    def _compute(self, texts: list[str], kind: str) -> dict[str, Score]:
        """Scores of distinct texts that are not in memory; they are afterwards."""
        scores: dict[str, Score] = {}
        if self._shared is not None:
            scores.update(self._shared.find(self._engine.version, texts))
            texts = [text for text in texts if text not in scores]
        tokens = self._engine.encode(texts, kind)
        fresh: dict[str, Score] = {}
        for batch in plan_batches([len(t) for t in tokens], budget=self._batch_tokens):
            for i, score in zip(batch, self._engine.score([tokens[i] for i in batch]), strict=True):
                fresh[texts[i]] = score
        if self._shared is not None and fresh:
            self._shared.store(self._engine.version, fresh)
        scores.update(fresh)
        for text, score in scores.items():
            self._cache.put(text, score)
        return scores
