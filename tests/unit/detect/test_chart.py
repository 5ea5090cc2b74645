"""The chart's p-values against the stationary law of its recursion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from pipeline.detect import chart
from pipeline.detect.forecast import Floats


def stationary(step: float = 0.04, top: float = 12.0) -> tuple[Floats, Floats]:
    """The law of the chart on a grid when scores are independent standard normal."""
    grid = np.arange(0, top, step)
    edges = np.append(grid - step / 2, np.inf)
    moves = np.zeros((len(grid), len(grid)))
    for i, start in enumerate(grid):
        needed = edges - start
        reach = np.where(needed > 5, 0.0, np.where(needed <= -4, 1.0, ndtr(-(needed + 1))))
        reach[0] = 1.0
        high = np.minimum(reach, ndtr(-chart.CALM))  # with a score above CALM
        to_high, to_low = -np.diff(high), -np.diff(reach - high)
        again = (grid > chart.ALARM) | (start > chart.ALARM)
        moves[i] = to_high + np.where(again, 0.0, to_low)
        moves[i, 0] += to_low[again].sum()
    law = np.zeros(len(grid))
    law[0] = 1.0
    for _ in range(200):
        law = law @ moves
    return grid, law


def test_the_table_is_the_chance_of_rising_to_a_value_when_nothing_happens() -> None:
    grid, law = stationary()
    for value in np.arange(0, 9.1, 0.5):
        needed = np.maximum(value - grid, 0.0)
        exact = float(law @ np.where(needed > 5, 0.0, ndtr(-(needed + 1))))
        assert chart.p_value(np.array([value]))[0] == pytest.approx(exact, rel=0.01)


def test_weak_ticks_add_up() -> None:
    value, p = np.zeros(1), np.ones(1)
    for _ in range(6):
        value, p = chart.step(value, np.array([2.0]))
    assert value[0] == 6
    assert p[0] < 1e-5


def test_a_falling_chart_is_silent() -> None:
    value, p = chart.step(np.array([5.0]), np.array([0.9]))
    assert value[0] == pytest.approx(4.9)
    assert p[0] == 1


def test_a_chart_above_its_alarm_starts_again_when_the_surge_is_over() -> None:
    before, z = np.array([5.0, 5.0, 1.0]), np.array([0.5, 3.0, 0.5])
    after, _ = chart.step(before, z)
    assert chart.carried(before, after, z).tolist() == [0.0, 7.0, 0.5]
