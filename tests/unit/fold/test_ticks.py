"""Ticks: intervals that touch, also over changes to and from summer time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.durations import parse_duration
from pipeline.instants import DAY_US, EARLIEST_US, HOUR_US, LATEST_US, MINUTE_US, WEEK_US, from_datetime
from pipeline.ticks import Ticks

BERLIN = ZoneInfo("Europe/Berlin")


def at(*moment: int, zone: ZoneInfo = BERLIN) -> int:
    return from_datetime(datetime(*moment, tzinfo=zone))  # type: ignore[misc]


def test_weeks_begin_on_monday_at_midnight_utc() -> None:
    weeks = Ticks(WEEK_US)
    start = weeks.start_us(weeks.index(from_datetime(datetime(2024, 5, 8, 13, tzinfo=UTC))))
    assert start == from_datetime(datetime(2024, 5, 6, tzinfo=UTC))


def test_a_day_of_a_change_to_summer_time_has_23_hours_and_is_one_tick() -> None:
    days = Ticks(DAY_US, "Europe/Berlin")
    tick = days.index(at(2024, 3, 31, 12))
    assert days.start_us(tick) == at(2024, 3, 31)
    assert days.end_us(tick) - days.start_us(tick) == 23 * HOUR_US
    assert days.index(days.end_us(tick) - 1) == tick
    assert days.index(days.end_us(tick)) == tick + 1


def test_a_day_of_a_change_to_winter_time_has_25_hours() -> None:
    days = Ticks(DAY_US, "Europe/Berlin")
    tick = days.index(at(2024, 10, 27, 12))
    assert days.end_us(tick) - days.start_us(tick) == 25 * HOUR_US


def test_hours_in_a_zone_have_a_fixed_width() -> None:
    hours = Ticks(HOUR_US, "Asia/Kolkata")
    tick = hours.index(at(2024, 3, 31, 12, 45, zone=ZoneInfo("Asia/Kolkata")))
    assert hours.start_us(tick) == at(2024, 3, 31, 12, zone=ZoneInfo("Asia/Kolkata"))


def test_the_anchor_is_the_start_of_tick_0() -> None:
    weeks = Ticks(WEEK_US, "Europe/Berlin", date(2024, 1, 3))
    assert weeks.start_us(0) == at(2024, 1, 3)


@pytest.mark.parametrize("width", [0, -1])
def test_a_tick_without_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        Ticks(width)


@settings(max_examples=200)
@given(
    st.integers(EARLIEST_US, LATEST_US),
    st.sampled_from([MINUTE_US, 7 * MINUTE_US, HOUR_US, DAY_US, 2 * DAY_US, WEEK_US, 366 * DAY_US]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kolkata"]),
)
def test_every_instant_lies_in_exactly_one_tick(instant: int, width: int, zone: str) -> None:
    ticks = Ticks(width, zone)
    tick = ticks.index(instant)
    assert ticks.start_us(tick) <= instant < ticks.end_us(tick)
    assert ticks.end_us(tick) == ticks.start_us(tick + 1)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("5m", 5 * MINUTE_US),
        (" 1.5H ", 90 * MINUTE_US),
        ("1w", WEEK_US),
        ("250ms", 250_000),
        (2, 2_000_000),
        (0.5, 500_000),
    ],
)
def test_durations_are_read_as_people_write_them(text: str | float, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "m",
        "5 minutes",
        "-5m",
        "1e3s",
        "٣m",
        "nan",
        "9" * 400 + "s",
        "99999999w",
        True,
        -1,
        float("nan"),
        float("inf"),
        10**400,
    ],
)
def test_what_is_no_duration_says_what_to_write(text: str | float) -> None:
    with pytest.raises(ValueError, match='write for example "5m"') as refused:
        parse_duration(text)
    assert len(str(refused.value)) < 200
