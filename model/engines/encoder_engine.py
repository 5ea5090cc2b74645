"""The classifier around an encoder: what all real engines share, so that they differ in the forward pass only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.base import Base
from model.engines.second_look import looked_at_again
from model.registry import StoredClassifier
from model.tokenizing import TextTokenizer
from model.topics import OTHER, Prototypes
from pipeline.scoring.engine import Score, Tokens

#: Texts in one forward pass of the second look: there are few, and memory is bounded.
_AGAIN = 64


class Encoder(Protocol):
    """A forward pass of the base.

    Delivery: none of its own. Ordering: rows are in the order of the batch. Idempotence: the same batch gives the
    same floats on the same machine. Raises: ModelError when the device fails.
    """

    name: str
    precision: str

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
        self.precision = encoder.precision
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
        return next(self.score_each([batch]), []) if batch else []

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        """`score` of each batch, none of them empty, in order. The second look is taken once, at the texts of all of
        them: a device that is asked between two batches stands still."""
        taken: list[Sequence[Tokens]] = []

        def noted() -> Iterator[Sequence[Tokens]]:
            for batch in batches:
                taken.append(batch)
                yield batch

        probabilities: list[float] = []
        topics: list[str] = []
        for means in self._encoder.means_of_each(noted()):
            probabilities += self._probabilities(means).tolist()
            topics += self._topics.nearest(embeddings(means))
        texts = [text for batch in taken for text in batch]
        says = self._tokenizer.says_something
        topics = [topic if says(text) else OTHER for topic, text in zip(topics, texts, strict=True)]
        if self._make_exact is not None:
            probabilities = looked_at_again(np.array(probabilities), texts, self._exact).tolist()
        scores = map(Score, probabilities, topics)
        for batch in taken:
            yield list(islice(scores, len(batch)))

    def _probabilities(self, means: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._calibration.probabilities(self._head.logits(means))

    def _exact(self, batch: Sequence[Tokens]) -> NDArray[np.float64]:
        if self._exact_encoder is None:
            assert self._make_exact is not None
            self._exact_encoder = self._make_exact()
        parts = [batch[start : start + _AGAIN] for start in range(0, len(batch), _AGAIN)]
        return np.concatenate([self._probabilities(means) for means in self._exact_encoder.means_of_each(parts)])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, hidden) of a few short texts, in one forward pass."""
        return embeddings(self._encoder.means(self._tokenizer.encode(texts)))


def embeddings(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """The base's sentence embeddings (n, hidden): the mean of its last layer, at unit length."""
    last = means[:, -1]
    return np.asarray(last / np.linalg.norm(last, axis=1, keepdims=True), np.float32)
