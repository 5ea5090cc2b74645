"""The classifier around an encoder: what all real engines share, so that they differ in the forward pass only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.base import Base
from model.engines.second_look import looked_at_again
from model.registry import StoredClassifier
from model.tokenizing import TextTokenizer
from model.topics import Prototypes
from pipeline.scoring.engine import Score, Tokens


class Encoder(Protocol):
    """A forward pass of the base.

    Delivery: none of its own. Ordering: rows are in the order of the batch. Idempotence: the same batch gives the
    same floats on the same machine. Raises: ModelError when the device fails.
    """

    name: str

    def means(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        """Means (n, `DEPTH`, hidden) over the tokens of each text of the last layers. `batch` is not empty."""

    def means_of_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[NDArray[np.float32]]:
        """`means` of each batch, in order. A batch may be taken, and started, before the one before it is fetched: so
        a device computes while this process prepares its next batch and uses its last."""


class EncoderEngine:
    """Implements `pipeline.scoring.engine.Engine`: one forward pass gives both probability and topic."""

    def __init__(
        self,
        encoder: Encoder,
        base: Base,
        classifier: StoredClassifier,
        exact: Callable[[], Encoder] | None = None,
    ) -> None:
        """`encoder` runs the weights of `classifier`. Where it does so with fewer bits, `exact` makes one that runs
        them in fp32, when it is needed first: it has the last word on texts next to the threshold."""
        self.name = encoder.name
        self.version = classifier.description.version
        self._encoder = encoder
        self._make_exact = exact
        self._exact_encoder: Encoder | None = None
        self._tokenizer = TextTokenizer(base)
        self._head = classifier.head
        self._calibration = classifier.calibration
        self._topics = Prototypes(classifier.description.topics, self.embed)

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        """Token ids. `kind` changes nothing: a prefix by kind was measured and did not help."""
        return self._tokenizer.encode(texts)

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        """Probability and topic of each text, in order."""
        if not batch:
            return []
        return self._scores(batch, self._encoder.means(batch))

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        """`score` of each batch, none of them empty, in order."""
        taken: deque[Sequence[Tokens]] = deque()

        def noted() -> Iterator[Sequence[Tokens]]:
            for batch in batches:
                taken.append(batch)
                yield batch

        for means in self._encoder.means_of_each(noted()):
            yield self._scores(taken.popleft(), means)

    def _scores(self, batch: Sequence[Tokens], means: NDArray[np.float32]) -> list[Score]:
        probabilities = self._probabilities(means)
        if self._make_exact is not None:
            probabilities = looked_at_again(probabilities, batch, self._exact)
        topics = self._topics.nearest(embeddings(means))
        return [Score(p, topic) for p, topic in zip(probabilities.tolist(), topics, strict=True)]

    def _probabilities(self, means: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._calibration.probabilities(self._head.logits(means))

    def _exact(self, batch: Sequence[Tokens]) -> NDArray[np.float64]:
        if self._exact_encoder is None:
            assert self._make_exact is not None
            self._exact_encoder = self._make_exact()
        return self._probabilities(self._exact_encoder.means(batch))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, hidden) of a few short texts, in one forward pass."""
        return embeddings(self._encoder.means(self._tokenizer.encode(texts)))


def embeddings(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """The base's sentence embeddings (n, hidden): the mean of its last layer, at unit length."""
    last = means[:, -1]
    return np.asarray(last / np.linalg.norm(last, axis=1, keepdims=True), np.float32)
