"""Baselines: they learn, from nothing that they are tested on, and one of them from the untuned base."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_sets import invent
from numpy.typing import NDArray

from model import registry
from model.base import find_base
from model.data.contrast import contrast
from model.engines.openvino_engine import OpenVinoEncoder
from model.evaluation import baselines, evaluate
from model.tokenizing import TextTokenizer
from model.training import recipe
from model.training.adaptation import means

WORDS = (["fire destroys the mill", "mill burns down", "fire in the harbour"], ["mill reopens", "harbour fair opens"])


def test_the_baseline_of_words_learns_which_words_are_bad() -> None:
    train = [text for text in WORDS[0] + WORDS[1] for _ in range(10)]
    bad = np.array([text in WORDS[0] for text in train])
    found = baselines.tfidf(train, bad, train, bad, ["the mill burns", "the mill reopens"])
    assert found[0] > 0.7 > 0.3 > found[1]


def test_the_probe_learns_a_direction() -> None:
    draw = np.random.default_rng(1)
    bad = draw.random(400) < 0.5
    inputs = (draw.normal(size=(400, 8)) + np.outer(bad, np.eye(8)[2]) * 3).astype(np.float32)
    found = baselines.probe(inputs[:300], bad[:300], inputs[300:350], bad[300:350], inputs[350:])
    assert np.mean((found > 0.5) == bad[350:]) > 0.8


def test_what_a_baseline_says_of_a_text_is_the_same_whatever_else_is_tested() -> None:
    train = [text for text in WORDS[0] + WORDS[1] for _ in range(10)]
    bad = np.array([text in WORDS[0] for text in train])
    alone = baselines.tfidf(train, bad, train, bad, ["the mill burns"])
    among = baselines.tfidf(train, bad, train, bad, ["the mill burns", *["burns in the mill"] * 50])
    assert among[0] == alone[0]
    inputs = np.random.default_rng(2).normal(size=(len(bad), 4)).astype(np.float32)
    probed = [baselines.probe(inputs, bad, inputs, bad, tested) for tested in (inputs[:1], inputs[:1].repeat(50, 0))]
    assert probed[1][0] == pytest.approx(probed[0][0])


Given = dict[str, list[tuple[Any, Any, Any]]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What each baseline was given of every source: to fit to, to choose by and to be tested on."""
    found: Given = {"tfidf": [], "probe": []}

    def noted(name: str, train: Any, bad: Any, tune: Any, tune_bad: Any, test: Any) -> NDArray[np.float64]:
        found[name].append((train, tune, test))
        return np.full(len(test), 0.5)

    for name in found:
        monkeypatch.setattr(baselines, name, partial(noted, name))
    return found


def test_baselines_are_fitted_to_no_text_under_test_and_the_probe_to_the_untuned_base(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(tmp_path)
    few = list(contrast())[::60]
    monkeypatch.setattr(recipe, "contrast", lambda: iter(few))
    monkeypatch.setattr(evaluate, "_slices", lambda mine, tests: {})
    base = find_base()
    evaluate.evaluate(base, registry.load(), tmp_path, None, lambda _: None)
    assert len(given["tfidf"]) == 5  # outbreak reports are all bad, and BlueGene/L's day has no texts to fit to
    for texts, embedded in zip(given["tfidf"], given["probe"], strict=True):
        train, tune, test = map(set, texts)
        assert train
        assert tune
        assert not test & (train | tune)
        assert list(map(len, embedded)) == list(map(len, texts))
    untuned, tokenizer = OpenVinoEncoder(base, base.load()), TextTokenizer(base)
    for said, found in zip(given["tfidf"][0], given["probe"][0], strict=True):
        assert np.allclose(found, means(said, untuned, tokenizer)[:, -1], atol=1e-3)
