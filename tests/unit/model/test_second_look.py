"""A text next to the threshold is computed again in fp32; the others are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.engines.second_look import MARGIN, looked_at_again
from pipeline.scoring.engine import Tokens

BATCH: list[Tokens] = [[1], [2], [3], [4]]


def test_only_what_is_near_the_threshold_is_computed_again_and_takes_the_exact_value() -> None:
    asked: list[Sequence[Tokens]] = []

    def exact(batch: Sequence[Tokens]) -> NDArray[np.float64]:
        asked.append(batch)
        return np.array([0.497, 0.503])

    rounded = np.array([0.9, 0.5 + MARGIN / 2, 0.5 - MARGIN / 2, 0.1])
    assert looked_at_again(rounded, BATCH, exact).tolist() == [0.9, 0.497, 0.503, 0.1]
    assert asked == [[[2], [3]]]


def test_a_batch_without_such_a_text_costs_nothing_more() -> None:
    def exact(batch: Sequence[Tokens]) -> NDArray[np.float64]:
        raise AssertionError("nothing is near the threshold")

    rounded = np.array([0.9, 0.5 + MARGIN, 0.5 - MARGIN, 0.1])
    assert looked_at_again(rounded, BATCH, exact) is rounded
