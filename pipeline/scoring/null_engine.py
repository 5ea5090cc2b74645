"""An engine without a model: scores are a hash of the text.

For benches, chaos tests and replays where only the pipeline matters. A score is a pure function of the text: the
same in every batch, process and machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from xxhash import xxh64_intdigest

from pipeline.scoring.engine import Score, Tokens

#: Topics that a hash chooses from.
TOPICS = ("other", "finance", "security", "infrastructure", "public-health", "disasters", "politics")

_TOP = 2**53


class NullEngine:
    """See the module. Its tokens are one number a text: the hash."""

    name = "null"
    precision = "exact"
    version = "null-1"

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        """One-element tuples; `kind` changes nothing. Lone surrogates are hashed as they are."""
        return [(xxh64_intdigest(text.encode("utf-8", "surrogatepass")),) for text in texts]

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        """The upper 53 bits of the hash as a fraction in [0, 1); the lower bits choose the topic."""
        return [Score((number >> 11) / _TOP, TOPICS[number % len(TOPICS)]) for (number,) in batch]

    def score_each(self, batches: Iterable[Sequence[Tokens]]) -> Iterator[list[Score]]:
        """`score` of each batch."""
        return map(self.score, batches)
