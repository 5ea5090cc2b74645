"""Texts to scores: templates, caches and batches around one engine.

Everything that scores goes through here: the pipeline's slices, `tocsin score`, the Python API and `POST /v1/score`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from pipeline.scoring.batches import plan_batches
from pipeline.scoring.cache import ScoreCache, SharedCache
from pipeline.scoring.engine import Engine, Score
from pipeline.scoring.template import scored_texts


class TextScores:
    """Scores of texts, through a cache in memory and perhaps a shared one behind it.

    Delivery: one score a text, or an error. Ordering: that of the texts. Idempotence: a text whose score is cached
    keeps it; else its last digits depend on the batch that it is computed in. Not for use by several threads at once.
    Raises: ModelError when the engine cannot run.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cache_entries: int,
        batch_tokens: int,
        shared: SharedCache | None = None,
        live: Callable[[], Engine] | None = None,
    ) -> None:
        """`batch_tokens`: padded tokens of one forward pass at most. `live`: the engine that should score by now, where
        that may change."""
        self.engine = engine
        self._live = live
        self.cache = ScoreCache(cache_entries)
        self._batch_tokens = batch_tokens
        self._shared = shared

    @property
    def version(self) -> str:
        """The version of the model that scores."""
        return self.engine.version

    def renew(self) -> None:
        """Take the engine that is live by now. Called between slices or requests: one of them has one version."""
        engine = self.engine if self._live is None else self._live()
        if engine is not self.engine:
            self.engine = engine
            self.cache.clear()

    def score(self, texts: Sequence[str], kind: str) -> list[Score]:
        """The score of each text of one kind: of its template for logs, of the text with even white space else."""
        texts = scored_texts(kind, texts)
        get = self.cache.get
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

    def score_mixed(self, texts: Sequence[str], kinds: Sequence[str]) -> list[Score]:
        """The score of each text, of which each has its own kind."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for i, kind in enumerate(kinds):
            places[kind].append(i)
        scores: dict[int, Score] = {}
        for kind, chosen in places.items():
            scores.update(zip(chosen, self.score([texts[i] for i in chosen], kind), strict=True))
        return [scores[i] for i in range(len(texts))]

    def _compute(self, texts: list[str], kind: str) -> dict[str, Score]:
        """Scores of distinct scored texts that are not in memory; they are afterwards."""
        scores: dict[str, Score] = {}
        # Engines and precisions differ in the last digits: each has its own scores.
        version = f"{self.engine.version}:{self.engine.name}:{self.engine.precision}"
        if self._shared is not None:
            scores.update(self._shared.find(version, texts))
            texts = [text for text in texts if text not in scores]
        tokens = self.engine.encode(texts, kind)
        fresh: dict[str, Score] = {}
        batches = plan_batches([len(t) for t in tokens], budget=self._batch_tokens)
        results = self.engine.score_each([tokens[i] for i in batch] for batch in batches)
        for batch, scores_of_batch in zip(batches, results, strict=True):
            fresh.update(zip((texts[i] for i in batch), scores_of_batch, strict=True))
        if self._shared is not None and fresh:
            self._shared.store(version, fresh)
        scores.update(fresh)
        for text, score in scores.items():
            self.cache.put(text, score)
        return scores
