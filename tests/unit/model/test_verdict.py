"""Whether a classifier has become better: never where it only says less."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibrate import Doubles
from model.data.example import Example
from model.training.comparison import Verdict, compared

BAD = np.arange(200) % 2 == 0


def _verdict(before: Doubles, after: Doubles) -> Verdict:
    examples = [Example(f"text {n}", float(bad), "yours", "") for n, bad in enumerate(BAD)]
    return compared(examples, before, after).verdict


def _right(part: float, sure: float = 0.9) -> Doubles:
    """Probabilities of which this part is right, each of them this sure."""
    says_bad = np.where(np.arange(len(BAD)) < part * len(BAD), BAD, ~BAD)
    return np.where(says_bad, sure, 1 - sure)


def test_more_right_labels_are_better_and_fewer_worse() -> None:
    assert _verdict(_right(0.6), _right(0.9)) == "better"
    assert _verdict(_right(0.9), _right(0.6)) == "worse"
    assert _verdict(_right(0.9), _right(0.9)) == "no clear difference"


def test_truer_probabilities_with_the_same_labels_are_better() -> None:
    assert _verdict(_right(0.7, sure=0.999), _right(0.7, sure=0.7)) == "better"


def test_more_wrong_labels_are_worse_though_they_are_said_less_surely() -> None:
    assert _verdict(_right(0.7, sure=0.999), _right(0.55, sure=0.51)) == "worse"


def test_a_few_more_wrong_labels_are_chance() -> None:
    assert _verdict(_right(0.7, sure=0.999), _right(0.69, sure=0.6)) == "better"


def test_what_orders_no_better_than_chance_is_not_better() -> None:
    for right in (0.5, 0.53):
        assert _verdict(_right(right, sure=0.999), _right(right, sure=0.6)) == "no clear difference"
    assert _verdict(_right(0.6, sure=0.999), _right(0.6, sure=0.6)) == "better"


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [
        (0.1, 0.18, "no clear difference"),
        (-0.1, 0.18, "no clear difference"),
        (0.1, 0.12, "better"),
        (-0.1, 0.12, "worse"),
    ],
)
def test_a_verdict_needs_a_difference_of_more_than_two_standard_errors(
    gain: float, spread: float, verdict: Verdict
) -> None:
    examples = [Example(f"text {number}", 1.0, "yours", str(number)) for number in range(10)]
    before = np.full(10, 0.7)
    after = before * np.exp(gain + spread * np.tile([1.0, -1.0], 5))
    found = compared(examples, before, after)
    assert found.gain == pytest.approx(gain)
    assert found.error == pytest.approx(spread / 3)  # of ten values that lie `spread` above or below their mean
    assert found.verdict == verdict
