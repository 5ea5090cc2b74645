"""Tails and predictive intervals against plain sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.detect.tail import SMALLEST, interval, tails


def law(mean: float, variance: float) -> stats.rv_discrete:
    if variance > mean:
        return stats.nbinom(mean**2 / (variance - mean), mean / variance)
    if variance < mean:
        return stats.binom(round(mean**2 / (mean - variance)), 1 - variance / mean)
    return stats.poisson(mean)


@pytest.mark.parametrize(
    ("mean", "variance"),
    [(0.01, 0.02), (0.5, 3.0), (5.0, 5.0), (40.0, 70.0), (10.0, 6.0), (18.75, 4.6875), (300.0, 9e3)],
)
def test_tails_are_those_of_the_law_with_this_mean_and_variance(mean: float, variance: float) -> None:
    y = np.arange(0, int(mean + 8 * math.sqrt(variance)) + 2, dtype=float)
    if variance < mean:
        y = y[y <= round(mean**2 / (mean - variance))]
    found = tails(y, np.full_like(y, mean), np.full_like(y, variance))
    expected = law(mean, variance)
    np.testing.assert_allclose(found.upper, np.maximum(expected.sf(y - 1), SMALLEST), rtol=1e-6)
    np.testing.assert_allclose(found.lower, np.maximum(expected.cdf(y), SMALLEST), rtol=1e-6)
    np.testing.assert_allclose(found.zero, expected.pmf(0), rtol=1e-6)
    middle = expected.sf(y) + expected.pmf(y) / 2
    kept = (middle > 1e-12) & (middle < 1 - 1e-12)
    np.testing.assert_allclose(found.z[kept], -stats.norm.ppf(middle[kept]), atol=1e-4)


@given(
    y=st.integers(0, 10**9),
    mean=st.floats(1e-9, 1e9),
    spread=st.one_of(st.just(1.0), st.floats(0.05, 40.0)),
    q=st.sampled_from([0.0, 1e-6, 0.01, 4.0]),
)
@settings(max_examples=300)
def test_any_count_and_forecast_give_probabilities(y: int, mean: float, spread: float, q: float) -> None:
    found = tails(np.array([float(y)]), np.array([mean]), np.array([spread * mean + q * mean * mean]))
    assert SMALLEST <= found.upper[0] <= 1
    assert SMALLEST <= found.lower[0] <= 1
    assert 0 <= found.zero[0] <= 1
    assert math.isfinite(found.z[0])


def test_far_tails_stay_apart() -> None:
    found = tails(np.array([60.0, 80.0, 100.0]), np.full(3, 1.0), np.full(3, 1.5))
    assert found.upper[0] > found.upper[1] > found.upper[2] > SMALLEST


def test_the_interval_holds_about_its_share_of_counts() -> None:
    for mean, variance in [(3.0, 4.5), (50.0, 75.0), (2000.0, 9000.0)]:
        low, high = interval(np.array([mean]), np.array([variance]))
        inside = law(mean, variance).cdf(np.floor(high[0])) - law(mean, variance).cdf(np.ceil(low[0]) - 1)
        assert 0.94 < inside < 0.99
