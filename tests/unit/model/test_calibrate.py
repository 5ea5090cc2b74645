"""Calibration and the figures that judge it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibrate import Calibration, auroc, expected_calibration_error, f1, fit, sigmoid, smoothed
from pipeline.errors import ModelError


def test_fitting_finds_the_scale_and_shift_that_made_the_labels() -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 3, 40_000)
    truth = sigmoid(0.5 * logits - 1) > draw.random(len(logits))
    found = fit(logits, truth.astype(float), np.ones(len(logits)))
    assert found.scale == pytest.approx(0.5, abs=0.02)
    assert found.shift == pytest.approx(-1, abs=0.05)
    assert expected_calibration_error(found.probabilities(logits), truth) < 0.02


@pytest.mark.parametrize("size", [3.0, 0.1, 0.01])
def test_logits_of_any_size_get_the_scale_that_their_labels_ask_for(size: float) -> None:
    bad = np.arange(100) % 2 == 0
    right = ~np.isin(np.arange(100), (0, 51))  # one of each stands on the wrong side
    found = fit(np.where(bad == right, size, -size), bad.astype(float), np.ones(100))
    assert found.scale * size == pytest.approx(np.log(98 / 2), rel=0.01)


def test_weights_count_as_repetitions() -> None:
    logits = np.array([-1.0, -0.5, 0.2, 1.0, 2.0])
    targets = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    repeated = np.array([2, 1, 3, 1, 2])
    weighted = fit(logits, targets, repeated.astype(float))
    copied = fit(np.repeat(logits, repeated), np.repeat(targets, repeated), np.ones(9))
    assert weighted.scale == pytest.approx(copied.scale, rel=1e-3)
    assert weighted.shift == pytest.approx(copied.shift, rel=1e-3)


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="no numbers"):
        fit(np.array([1.0, np.nan, -1.0]), np.array([1.0, 0.0, 0.0]), np.ones(3))


def test_logits_that_order_labels_backwards_are_refused() -> None:
    logits = np.array([1.0, 2.0, -1.0, -2.0, 0.5, -0.5])
    with pytest.raises(ModelError, match=r"nothing to calibrate\. Are bad and ok the right way round"):
        fit(logits, np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0]), np.ones(6))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_probabilities_stay_within_bounds_and_in_order(logits: list[float]) -> None:
    ordered = np.sort(np.array(logits))
    probabilities = Calibration(scale=1.7, shift=-0.3).probabilities(ordered)
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    assert (np.diff(probabilities) >= 0).all()


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == 0.875
    assert np.isnan(auroc(np.array([0.1, 0.5]), np.array([True, True])))


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    flags, truth = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert f1(flags, truth) == 0.5
    assert f1(~truth, truth) == 0


def test_the_calibration_error_does_not_depend_on_the_order_of_texts_of_one_probability() -> None:
    truth = np.arange(30) < 15
    for bad in (truth, ~truth, np.random.default_rng(0).permutation(truth)):
        assert expected_calibration_error(np.full(30, 0.5), bad) == 0


def test_the_calibration_error_is_the_gap_between_probability_and_share() -> None:
    truth = np.arange(1000) % 4 == 0
    assert expected_calibration_error(np.full(1000, 0.25), truth) == pytest.approx(0, abs=0.02)
    assert expected_calibration_error(np.full(1000, 0.75), truth) == pytest.approx(0.5, abs=0.02)


def test_few_texts_make_no_target_certain() -> None:
    assert smoothed(np.array([1.0, 1.0, 0.0])).tolist() == [3 / 4, 3 / 4, 1 / 3]
    assert smoothed(np.array([0.6, 0.0, 0.0])).tolist() == [0.6, 1 / 4, 1 / 4]
