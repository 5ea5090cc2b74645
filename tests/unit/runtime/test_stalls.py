"""Stalled clocks: told once when they stand still, once when they go on."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.instants import MINUTE_US
from pipeline.records import LEFT_US
from pipeline.runtime.stalls import Stall, StallWatch
from pipeline.streams import Definition


def watch(clock: str = "arrival") -> StallWatch:
    return StallWatch(
        Definition(
            name="s",
            kind="logs",
            tick_us=MINUTE_US,
            clock=clock,  # type: ignore[arg-type]
            clocks=("s/a", "s/b"),
            stall_after_us=15 * MINUTE_US,
        )
    )


def look(stalls: StallWatch, watermarks: Mapping[str, int | None], minute: int) -> list[Stall]:
    return stalls.look(watermarks, minute * MINUTE_US, minute * 60)


def test_a_clock_that_stands_still_is_told_once_and_once_more_when_it_goes_on() -> None:
    stalls = watch()
    news = {
        minute: found
        for minute in range(40)
        if (found := look(stalls, {"s/a": minute, "s/b": 3 if minute < 30 else minute}, minute))
    }
    assert news == {
        1: [Stall("s/a", MINUTE_US, over=True)],  # a process before this one may have said that it stands still
        15: [Stall("s/b", 0, over=False)],
        30: [Stall("s/b", 0, over=True)],
    }


def test_a_clock_that_never_began_stalls_as_well() -> None:
    stalls = watch()
    look(stalls, {"s/a": 1, "s/b": None}, 0)
    assert Stall("s/b", 0, over=False) in look(stalls, {"s/a": 2, "s/b": None}, 15)


def test_a_clock_that_was_not_read_yet_is_no_news() -> None:
    stalls = watch()
    assert look(stalls, {}, 0) == look(stalls, {}, 60) == []
    assert look(stalls, {"s/a": 5, "s/b": 5}, 61) == []


def test_an_alarm_of_an_earlier_process_ends_when_the_clock_goes_on() -> None:
    stalls = watch()
    assert look(stalls, {"s/a": 5, "s/b": 5}, 0) == []
    assert [s.partition for s in look(stalls, {"s/a": 6, "s/b": 5}, 1) if s.over] == ["s/a"]
    assert look(stalls, {"s/a": 7, "s/b": 5}, 2) == []


def test_a_clock_that_left_never_stalls() -> None:
    stalls = watch()
    look(stalls, {"s/a": LEFT_US, "s/b": LEFT_US}, 0)
    assert look(stalls, {"s/a": LEFT_US, "s/b": LEFT_US}, 60) == []


def test_where_publishers_keep_the_clock_only_one_that_is_waited_for_stalls() -> None:
    stalls = watch("data")
    look(stalls, {"s/a": 5, "s/b": 5}, 0)
    assert look(stalls, {"s/a": 5, "s/b": 5}, 60) == []
    assert look(stalls, {"s/a": 5, "s/b": 4}, 61) == [Stall("s/b", 61 * MINUTE_US, over=True)]
    assert look(stalls, {"s/a": 5, "s/b": 4}, 90) == [Stall("s/b", 61 * MINUTE_US, over=False)]


def test_a_wall_clock_that_is_set_back_hides_no_stall() -> None:
    stalls = watch()
    hours_us = 120 * MINUTE_US
    stalls.look({"s/a": 1, "s/b": 1}, hours_us, 0)
    stalls.look({"s/a": 2, "s/b": 1}, 0, 60)
    news = stalls.look({"s/a": 3, "s/b": 1}, 14 * MINUTE_US, 15 * 60)
    assert Stall("s/b", hours_us, over=False) in news
