"""The forecast: bits that depend on a key alone, cold starts, gaps, half-lives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.forecast import LEARN_TICKS, RELEARN_TICKS, Floats, Forecast
from pipeline.detect.screening import Screening
from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, WEEK_US
from pipeline.streams import Definition, adapted

NUMBER = Definition(name="s", kind="logs", tick_us=5 * MINUTE_US)
SHARE = adapted(NUMBER, count="share")
SEASONAL = adapted(NUMBER, seasons=("day", "week"))


def columns(screening: Screening, keys: int, tick: int = 0) -> Floats:
    return np.ascontiguousarray(np.repeat(screening.born(tick, None)[:, None], keys, axis=1))


@pytest.mark.parametrize("definition", [NUMBER, SHARE, SEASONAL])
@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.integers(1, 70),
    cut=st.tuples(st.integers(0, 69), st.integers(1, 70)),
)
@settings(max_examples=15)
def test_a_key_gets_the_same_bits_whatever_keys_stand_beside_it(
    definition: Definition, seed: int, keys: int, cut: tuple[int, int]
) -> None:
    draw = np.random.default_rng(seed)
    screening = Screening(definition)
    part = slice(min(cut[0], keys - 1), min(cut[0], keys - 1) + cut[1])
    everyone = columns(screening, keys)
    few = everyone[:, part].copy(order="C")
    rate = draw.gamma(0.7, 20.0, keys)
    for tick in range(14):
        y = draw.poisson(rate * (30 if tick == 11 else 1)).astype(float)
        total = y + draw.poisson(rate).astype(float) + 1.0
        one = screening.screen(everyone, y, total, tick)
        other = screening.screen(few, y[part].copy(), total[part].copy(), tick)
        for name in ("expected", "variance", "z", "p_up", "p_down", "chart_up", "chart_down"):
            assert getattr(one, name)[part].tobytes() == getattr(other, name).tobytes(), name
        assert everyone[:, part].tobytes() == few.tobytes()


@pytest.mark.parametrize("rate", [0.02, 1.0, 40.0, 3_000.0, 1e6])
def test_a_cold_key_has_found_its_level_when_it_stops_learning(rate: float) -> None:
    draw = np.random.default_rng(1)
    screening = Screening(NUMBER)
    x = columns(screening, 200)
    for tick in range(LEARN_TICKS + 1):
        screened = screening.screen(x, draw.poisson(rate, 200).astype(float), np.ones(200), tick)
        assert screened.learning.all() == (tick < LEARN_TICKS)
    error = np.abs(screened.expected - rate)
    assert np.median(error) <= max(2 * np.sqrt(rate / 5), 0.2)


def test_a_partial_first_tick_does_not_hold_the_level_down() -> None:
    screening = Screening(NUMBER)
    x = columns(screening, 1)
    for tick, y in enumerate([2.0] + [50.0] * 10):
        screened = screening.screen(x, np.array([y]), np.ones(1), tick)
    assert 38 < screened.expected[0] < 56
    assert screened.p_up[0] > 0.05


def test_silence_between_ticks_widens_the_forecast_and_stays_within_its_caps() -> None:
    screening = Screening(SEASONAL)
    x = columns(screening, 1)
    for tick in range(60):
        near = screening.screen(x, np.array([20.0]), np.ones(1), tick)
    far = screening.screen(x.copy(), np.array([20.0]), np.ones(1), 60 + 288)
    assert far.variance[0] > near.variance[0]
    longest = screening.screen(x, np.array([20.0]), np.ones(1), 10**7)
    assert np.isfinite(longest.variance[0])
    assert longest.variance[0] < 20 * longest.expected[0] ** 2


def test_a_surge_hardly_teaches_the_level() -> None:
    screening = Screening(NUMBER)
    x = columns(screening, 1)
    for tick in range(200):
        screening.screen(x, np.array([10.0]), np.ones(1), tick)
    for tick in range(200, 206):
        screened = screening.screen(x, np.array([500.0]), np.ones(1), tick)
    assert screened.expected[0] < 20


def test_a_lasting_shift_becomes_the_new_normal() -> None:
    screening = Screening(NUMBER)
    x = columns(screening, 1)
    draw = np.random.default_rng(0)
    for tick in range(100):
        screening.screen(x, draw.poisson(10, 1).astype(float), np.ones(1), tick)
    for tick in range(100, 100 + RELEARN_TICKS + LEARN_TICKS + 2):
        screened = screening.screen(x, draw.poisson(800, 1).astype(float), np.ones(1), tick)
    assert 600 < screened.expected[0] < 1000
    assert not screened.learning[0]


def test_a_share_is_not_moved_by_volume() -> None:
    screening = Screening(SHARE)
    x = columns(screening, 1)
    for tick in range(50):
        screening.screen(x, np.array([20.0]), np.array([200.0]), tick)
    tripled = screening.screen(x, np.array([60.0]), np.array([600.0]), 50)
    assert tripled.expected[0] == pytest.approx(60, rel=0.05)
    assert tripled.p_up[0] > 0.2


def test_a_high_share_can_still_rise() -> None:
    screening = Screening(SHARE)
    x = columns(screening, 1)
    draw = np.random.default_rng(3)
    for tick in range(100):
        screening.screen(x, draw.binomial(25, 0.6, 1).astype(float), np.array([25.0]), tick)
    assert screening.screen(x, np.array([25.0]), np.array([25.0]), 100).p_up[0] < 1e-3


@pytest.mark.parametrize(
    ("tick_us", "seasons", "ticks"),
    [
        (WEEK_US, (), 69),
        (DAY_US, ("week",), 69),
        (HOUR_US, ("week",), 84),
        (5 * MINUTE_US, (), 72),
        (MINUTE_US, ("day",), 720),
    ],
)
def test_a_level_is_half_forgotten_after_a_time_not_after_a_number_of_ticks(
    tick_us: int, seasons: tuple[str, ...], ticks: int
) -> None:
    assert Forecast(adapted(NUMBER, tick_us=tick_us, seasons=seasons)).level_half_life == ticks


def test_a_day_of_a_season_is_learned() -> None:
    screening = Screening(adapted(NUMBER, tick_us=HOUR_US, seasons=("day",)))
    x = columns(screening, 1)
    draw = np.random.default_rng(2)
    expected = []
    for tick in range(24 * 10):
        rate = 30 * np.exp(np.sin(2 * np.pi * tick / 24))
        expected.append(float(screening.screen(x, draw.poisson(rate, 1).astype(float), np.ones(1), tick).expected[0]))
    last = expected[-24:]
    assert max(last) / min(last) > 4
    assert 3 <= int(np.argmax(last)) <= 9
