"""Evaluation: figures by hand, baselines that learn, slices, and a page that hostile text cannot break."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.example import Example
from model.evaluation import baselines, slices
from model.evaluation.evaluate import Evaluation, Source
from model.evaluation.figures import Figures, figures, reliability
from model.evaluation.page import page


def test_figures_are_those_of_a_calculation_by_hand() -> None:
    probabilities = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.1])
    bad = np.array([True, True, False, True, False, False])
    found = figures(probabilities, bad)
    assert found.texts == 6
    assert found.bad == 0.5
    assert found.accuracy == round(4 / 6, 4)
    assert found.f1 == round(2 * 2 / (3 + 3), 4)
    assert found.auroc == round(8 / 9, 4)  # one of nine pairs is in the wrong order
    assert found.ece == round((0.1 + 0.2 + 0.6 + 0.6 + 0.2 + 0.1) / 6, 4)  # one text in each bin


def test_half_counts_as_bad_and_one_class_has_no_auroc() -> None:
    found = figures(np.array([0.5, 0.49]), np.array([True, True]))
    assert found.accuracy == 0.5
    assert found.auroc is None


def test_what_calibration_did_is_shown() -> None:
    bad = np.array([True, False] * 50)
    found = figures(np.full(100, 0.5), bad, np.full(100, 0.9))
    assert found.ece < 0.1 < 0.3 < (found.ece_before or 0)


def test_a_reliability_diagram_holds_every_text_once_from_low_to_high() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.random(1000)
    bins = reliability(probabilities, draw.random(1000) < probabilities)
    assert sum(found.texts for found in bins) == 1000
    assert [found.probability for found in bins] == sorted(found.probability for found in bins)
    assert max(abs(found.probability - found.bad) for found in bins) < 0.2


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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The plant did not explode", "negation"),
        ("It won't open", "negation"),
        ("Fire in mill", "very short (four words at most)"),
        ("word " * 100, "very long (100 words and more)"),
    ],
)
def test_a_text_is_in_its_slice(text: str, name: str) -> None:
    found = dict(
        slices.cut([Example("An ordinary line about a fire in town", 1.0, "s", "g"), Example(text, 0.0, "s", "g")])
    )
    assert found[name] == [1]


def test_written_slices_hold_both_answers_or_say_why_not() -> None:
    by_name: dict[str, set[float]] = {}
    for example in slices.written():
        by_name.setdefault(example.source, set()).add(example.target)
    assert by_name.pop("numbers alone") == {0.0}  # no number is bad news by itself
    assert len(by_name) >= 3
    assert all(targets == {0.0, 1.0} for targets in by_name.values())


def test_a_page_marks_where_it_fails_and_obeys_no_text() -> None:
    good = Figures(texts=10, bad=0.5, accuracy=0.9, f1=0.9, auroc=0.95, ece=0.02, ece_before=0.1)
    weak = Figures(texts=10, bad=0.5, accuracy=0.6, f1=0.5, auroc=None, ece=0.2)
    bins = reliability(np.linspace(0, 1, 30), np.arange(30) % 2 == 0)
    drawn = page(
        Evaluation(
            model="<script>alert(1)</script>",
            retrained=None,
            sources={"finance": Source(split="by <b>headline", tuned=good, tfidf=weak)},
            slices={"negation & more": weak, "fine": good},
            reliability={"finance": bins},
        ),
        [(60, 0.4), (120, 0.3)],
    )
    assert "<script" not in drawn
    assert "negation &amp; more" in drawn
    assert drawn.index("negation &amp; more") < drawn.index("<td>fine")  # the worst first
    assert '<td class="bad">.600' in drawn
    assert drawn.count("<svg") == 2
