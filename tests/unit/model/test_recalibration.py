"""A calibration for a person's texts: which half it is fitted on, and how sure it becomes."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.example import Example
from model.training.recalibration import halves, recalibrated


def _examples(number: int) -> list[Example]:
    return [Example(f"text {i}", float(i % 2), "yours", f"group {i // 4}") for i in range(number)]


def test_every_text_is_in_one_half_and_no_group_in_both() -> None:
    fitted, held_out = halves(_examples(200))
    assert len(fitted) + len(held_out) == 200
    assert not {example.group for example in fitted} & {example.group for example in held_out}


def test_texts_that_are_all_told_apart_make_no_probability_more_certain_than_their_number_allows() -> None:
    logits = np.tile([-1.0, 1.0], 5)
    probabilities = recalibrated(logits, _examples(10)).probabilities(logits)
    assert probabilities == pytest.approx(np.tile([1 / 7, 6 / 7], 5), abs=1e-4)
