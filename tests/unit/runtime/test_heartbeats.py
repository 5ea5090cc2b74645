"""Heartbeats: only live, only at the end of a source, never for a time that may still be under way."""

from __future__ import annotations

from pipeline.instants import DAY_US, MINUTE_US, SECOND_US
from pipeline.runtime.heartbeats import Idleness
from pipeline.streams import Definition


def idleness(clock: str = "arrival") -> Idleness:
    definition = Definition(name="s", kind="logs", tick_us=MINUTE_US, clock=clock, idle_after_us=5 * SECOND_US)  # type: ignore[arg-type]
    return Idleness(definition, busy_s=0.0)


def test_a_source_that_stood_at_its_end_gets_one_for_the_time_less_idle_after() -> None:
    idle = idleness()
    assert idle.due(4, 4 * SECOND_US) is None
    assert idle.due(6, 6 * SECOND_US) == 1 * SECOND_US


def test_one_comes_every_idle_after() -> None:
    idle = idleness()
    beats = [s for s in range(60) if idle.due(s, s * SECOND_US) is not None]
    assert beats == list(range(5, 60, 5))


def test_a_busy_source_gets_none() -> None:
    idle = idleness()
    idle.busy(10)
    assert idle.due(14, 14 * SECOND_US) is None
    assert idle.due(15, 15 * SECOND_US) == 10 * SECOND_US


def test_a_source_that_is_asked_seldom_is_complete_only_until_it_was_asked() -> None:
    assert idleness().due(90, 60 * SECOND_US) == 55 * SECOND_US


def test_publishers_that_keep_the_clock_get_none() -> None:
    assert idleness("data").due(3600, 3600 * SECOND_US) is None


def test_a_wall_clock_that_is_set_back_stops_no_heartbeat_and_turns_none_back() -> None:
    idle = idleness()
    now_us = 20_000 * DAY_US
    assert idle.due(10, now_us) == now_us - 5 * SECOND_US
    for elapsed_s in (15, 20):
        assert idle.due(elapsed_s, now_us - 7200 * SECOND_US) == now_us - 5 * SECOND_US
    assert idle.due(25, now_us + SECOND_US) == now_us - 4 * SECOND_US
