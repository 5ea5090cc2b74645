"""Evaluation: figures by hand, slices, and a page that hostile text cannot break."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.example import Example
from model.evaluation import slices
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


def test_texts_with_words_are_tried_in_upper_case_with_their_labels() -> None:
    found = slices.upper([Example("Fire in mill 3", 1.0, "s", "a"), Example("42 %", 0.0, "s", "b")])
    assert [(example.text, example.target) for example in found] == [("FIRE IN MILL 3", 1.0)]


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
