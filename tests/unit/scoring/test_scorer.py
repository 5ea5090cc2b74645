"""The scoring step: each distinct text once, through the caches, and scores in the order of the signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Counted, Signal, SignalSlice
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer


class CountingEngine(NullEngine):
    """The null engine, which remembers what it was asked; a text is as many tokens long as it has characters."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.batches: list[list[int]] = []

    def encode(self, texts: Sequence[str], kind: str) -> list[Tokens]:
        self.encoded += texts
        hashes = super().encode(texts, kind)
        return [tuple(h) * max(1, len(text)) for h, text in zip(hashes, texts, strict=True)]

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        self.batches.append([len(tokens) for tokens in batch])
        return super().score([tokens[:1] for tokens in batch])


class Shared:
    """A shared cache in memory."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, str], Score] = {}

    def find(self, version: str, texts: Sequence[str]) -> Mapping[str, Score]:
        return {text: self.scores[version, text] for text in texts if (version, text) in self.scores}

    def store(self, version: str, scores: Mapping[str, Score]) -> None:
        self.scores |= {(version, text): score for text, score in scores.items()}


def slice_of(texts: Sequence[str], counted: Sequence[int] = ()) -> SignalSlice:
    signals = [
        Signal(i, "", 0, 0, False, text, "", counted=Counted(1, 2) if i in counted else None)
        for i, text in enumerate(texts)
    ]
    return SignalSlice("s", "d", "s/p", 0, len(texts), True, 0, [0], signals, 0, [])


def scorer(engine: CountingEngine, *, entries: int = 100, shared: Shared | None = None) -> Scorer:
    return Scorer(engine, cache_entries=entries, batch_tokens=1000, shared=shared)


def test_each_distinct_text_is_computed_once() -> None:
    engine = CountingEngine()
    one = scorer(engine)
    texts = ["disk 1 failed", "disk 2 failed", "link up", "disk 1 failed"]
    first = one.score(slice_of(texts), "logs")
    again = one.score(slice_of(texts), "logs")
    assert Counter(engine.encoded) == {"disk <*> failed": 1, "link up": 1}
    assert first.probabilities == again.probabilities
    assert first.probabilities[0] == first.probabilities[1] == first.probabilities[3] != first.probabilities[2]
    assert (one.cache.hits, one.cache.misses) == (2, 2)


def test_counted_items_skip_the_classifier() -> None:
    engine = CountingEngine()
    scored = scorer(engine).score(slice_of(["a", "b", "c"], counted=[1]), "news")
    assert sorted(engine.encoded) == ["a", "c"]
    assert (scored.probabilities[1], scored.topics[1]) == (0.0, "")
    assert scored.probabilities[2] == scorer(CountingEngine()).score(slice_of(["c"]), "news").probabilities[0]


def test_a_slice_without_signals_asks_nothing() -> None:
    engine = CountingEngine()
    assert scorer(engine).score(slice_of([]), "news").probabilities == []
    assert engine.batches == []


def test_the_shared_cache_is_asked_before_the_engine_and_told_after_it() -> None:
    shared, engine = Shared(), CountingEngine()
    first = scorer(engine, shared=shared).score(slice_of(["a", "b"]), "news")
    other = CountingEngine()
    second = scorer(other, shared=shared).score(slice_of(["a", "b", "c"]), "news")
    assert other.encoded == ["c"]
    assert second.probabilities[:2] == first.probabilities


def test_a_slice_with_more_texts_than_the_cache_holds_is_scored_whole() -> None:
    engine = CountingEngine()
    texts = [f"word {chr(97 + n)}" for n in range(20)]
    one = scorer(engine, entries=3)
    found = one.score(slice_of(texts), "news").probabilities
    assert found == [NullEngine().score(NullEngine().encode([text], "news"))[0].probability for text in texts]
    assert len(one.cache) == 3


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    engine = CountingEngine()
    scorer(engine).score(slice_of(["x" * 1900, "y", "z"]), "news")
    assert sorted(map(len, engine.batches)) == [1, 2]


@settings(max_examples=60)
@given(
    st.lists(st.text(st.sampled_from("ab1 \x00\n\ud800"), max_size=6), max_size=30),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_neither_cuts_nor_caches_change_a_score(texts: list[str], cut: int, entries: int) -> None:
    for kind in ("logs", "news"):
        straight = scorer(CountingEngine()).score(slice_of(texts), kind)
        small = scorer(CountingEngine(), entries=entries, shared=Shared())
        parts = [small.score(slice_of(texts[i : i + cut]), kind) for i in range(0, len(texts), cut)]
        assert [p for part in parts for p in part.probabilities] == straight.probabilities
        assert [t for part in parts for t in part.topics] == straight.topics


def test_the_model_version_is_recorded_with_the_scores() -> None:
    assert scorer(CountingEngine()).score(slice_of(["a"]), "news").model == "null-1"


def test_an_engine_that_answers_for_fewer_texts_is_not_believed() -> None:
    class Short(CountingEngine):
        def score(self, batch: Sequence[Tokens]) -> list[Score]:
            return super().score(batch)[1:]

    with pytest.raises(ValueError, match="zip"):
        scorer(Short()).score(slice_of(["a", "b"]), "news")


@pytest.mark.parametrize(("name", "precision"), [("another", "exact"), ("null", "bf16")])
def test_engines_and_precisions_share_no_scores(name: str, precision: str) -> None:
    shared, first, second = Shared(), CountingEngine(), CountingEngine()
    second.name, second.precision = name, precision
    for engine in (first, second, second):
        scorer(engine, shared=shared).score(slice_of(["link up"]), "logs")
    assert (first.encoded, second.encoded) == (["link up"], ["link up"])
