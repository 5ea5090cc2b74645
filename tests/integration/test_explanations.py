"""Explanations of the shipped classifier."""

from __future__ import annotations

import pytest

from model.data.contrast import contrast
from model.engines.choose import load_engine
from model.explain import explain, spans
from model.training.recipe import split
from pipeline.scoring.engine import Engine
from pipeline.scoring.text_scores import TextScores

_PROSE = ("contrast:disasters", "contrast:politics", "contrast:public-health")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine("openvino", threads=2)


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("Shares plunge after profit warning", "news", "plunge"),
        ("Ebola outbreak in Guinea declared over", "news", "over"),
        ("Profit warning lifted after strong quarter", "news", "lifted"),
        ("disk sda on node 7 failed", "logs", "failed"),
        ("ERROR disk failure on node 7, data lost", "logs", "failure"),
    ],
)
def test_the_word_that_a_reader_would_name_is_among_the_first(engine: Engine, text: str, kind: str, word: str) -> None:
    assert word in [found for found, _ in explain(engine, text, kind, most=3)]


def test_a_recovery_counts_against_bad_news(engine: Engine) -> None:
    adds = dict(explain(engine, "Profit warning lifted after strong quarter", "news"))
    assert adds["lifted"] < -0.1


def test_leaving_the_first_words_out_moves_the_score_more_on_five_sentences(engine: Engine) -> None:
    texts = [
        "Bank posts a huge loss and cuts thousands of jobs",
        "Hackers steal the data of two million customers",
        "Gunmen attack a hotel in the capital, many dead",
        "Routine vaccination campaign starts on Monday in the north",
        "All flights resume after the storm has passed",
    ]
    assert _further(engine, texts) > 0.1


def test_leaving_the_first_words_out_moves_the_score_more_than_leaving_out_the_last(engine: Engine) -> None:
    held_out = [one.text for one in contrast() if split(one) == "test" and one.source in _PROSE]
    texts = [text for text in dict.fromkeys(held_out) if len(spans(text)) >= 7][::3]
    assert len(texts) > 30
    assert _further(engine, texts) > 0.1


def _further(engine: Engine, texts: list[str]) -> float:
    """How much further the score moves without the first three words than without the last three, on average."""
    scores = TextScores(engine, cache_entries=100, batch_tokens=4096)
    moved = []
    for text in texts:
        order = [word for word, _ in explain(engine, text, "news", most=99)]
        variants = [" ".join(w for w in text.split() if w.strip(",.:") not in out) for out in (order[:3], order[-3:])]
        whole, first, last = [score.probability for score in scores.score([text, *variants], "news")]
        moved.append(abs(whole - first) - abs(whole - last))
    return sum(moved) / len(moved)


def test_no_text_stops_an_explanation(engine: Engine) -> None:
    for text in ("\ud800 loss \udfff", "[PAD] [MASK]", "x" * 10_000_000, "a " * 100_000, "\u202e\ufeff", "é" * 3000):
        assert explain(engine, text, "news") == explain(engine, text, "news")
