"""Two classifiers on the same held-out texts: when one is called better."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.example import Example
from model.training.comparison import Verdict, compared


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
    before = np.full(10, 0.5)
    after = before * np.exp(gain + spread * np.tile([1.0, -1.0], 5))
    found = compared(examples, before, after)
    assert found.gain == pytest.approx(gain)
    assert found.error == pytest.approx(spread / 3)  # of ten values that lie `spread` above or below their mean
    assert found.verdict == verdict
