"""Benjamini and Hochberg, with most p-values left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.discovery import P_MAX, cut, level
from pipeline.instants import MINUTE_US, WEEK_US
from pipeline.streams import Definition


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.01, 5e-4]))
def test_passing_only_small_p_values_finds_the_same_alarms(p_values: list[float], at: float) -> None:
    ordered, m = sorted(p_values), len(p_values)
    passing = [p for k, p in enumerate(ordered, 1) if p * m <= at * k]
    assert cut([p for p in p_values if p <= P_MAX], m, at) == (passing[-1] if passing else -1.0)


def test_the_level_spends_a_weekly_budget_and_is_never_above_q() -> None:
    weekly = Definition(name="s", kind="health", tick_us=WEEK_US)
    minutes = Definition(name="s", kind="logs", tick_us=5 * MINUTE_US)
    assert level(weekly) == 0.1
    assert level(minutes) == 5 / 10080
