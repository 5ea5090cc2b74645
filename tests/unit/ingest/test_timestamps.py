"""Times as people write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BrokenItem
from pipeline.ingest.timestamps import parse_time
from pipeline.instants import EARLIEST_US, LATEST_US, from_datetime, to_iso

RECEIVED = from_datetime(datetime(2024, 6, 14, 21, 20, tzinfo=UTC))


def read(value: str | int | float, zone: str | None = None) -> str:
    return to_iso(parse_time(value, received_us=RECEIVED, zone=ZoneInfo(zone) if zone else None))


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2024-06-14T12:00:00Z", "2024-06-14T12:00:00Z"),
        ("2024-06-14t12:00:00z", "2024-06-14T12:00:00Z"),
        (" 2024-06-14 12:00:00 ", "2024-06-14T12:00:00Z"),
        ("2024-06-14T12:00", "2024-06-14T12:00:00Z"),
        ("2024-06-14 12:00:00,123456789+02:00", "2024-06-14T10:00:00.123456Z"),
        ("2024-06-14T12:00:00.1Z", "2024-06-14T12:00:00.100000Z"),
        ("2024-06-14 12:00:00 -0530", "2024-06-14T17:30:00Z"),
        ("2024-06-14 12:00:00 UTC", "2024-06-14T12:00:00Z"),
        ("2024-06-14T23:59:60Z", "2024-06-15T00:00:00Z"),
        ("2024-06-14", "2024-06-14T00:00:00Z"),
        ("20240614", "2024-06-14T00:00:00Z"),
        ("20240614T120000Z", "2024-06-14T12:00:00Z"),
        ("20240614120000", "2024-06-14T12:00:00Z"),
        ("2024-W24", "2024-06-10T00:00:00Z"),
        ("2024-W24-5", "2024-06-14T00:00:00Z"),
        ("2024-04", "2024-04-01T00:00:00Z"),
        ("2009", "2009-01-01T00:00:00Z"),
        ("2016/9/27:20:30:31.455", "2016-09-27T20:30:31.455000Z"),
        ("2005.06.03", "2005-06-03T00:00:00Z"),
        ("2005-06-03-15.42.53.276129", "2005-06-03T15:42:53.276129Z"),
        ("2016-09-28 04:30:31,", "2016-09-28T04:30:31Z"),
        ("17/06/09 20:10:40", "2017-06-09T20:10:40Z"),
        ("081109 203807", "2008-11-09T20:38:07Z"),
        ("03-17 16:13:38.811", "2024-03-17T16:13:38.811000Z"),
        ("[Sun Dec 04 04:47:44 2005]", "2005-12-04T04:47:44Z"),
        ("Sun Dec  4 04:47:44.25 UTC 2005", "2005-12-04T04:47:44.250000Z"),
        ("04/Dec/2005:04:47:44 +0100", "2005-12-04T03:47:44Z"),
        ("Tue, 14 Jun 2005 15:16:02 GMT", "2005-06-14T15:16:02Z"),
        ("14 Jun 05 15:16 EDT", "2005-06-14T19:16:00Z"),
        ("14 Jun 94 15:16:02 +0000", "1994-06-14T15:16:02Z"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("22 January 1996", "1996-01-22T00:00:00Z"),
        ("December 4, 2005", "2005-12-04T00:00:00Z"),
        ("Jun 14 15:16:02", "2024-06-14T15:16:02Z"),
        ("Jun 14 2005 15:16:02", "2005-06-14T15:16:02Z"),
        (0, "1970-01-01T00:00:00Z"),
        (1718400000, "2024-06-14T21:20:00Z"),
        (1718400000.25, "2024-06-14T21:20:00.250000Z"),
        (1718400000123, "2024-06-14T21:20:00.123000Z"),
        (1718400000123456, "2024-06-14T21:20:00.123456Z"),
        (1718400000123456789, "2024-06-14T21:20:00.123456Z"),
        ("1718400000", "2024-06-14T21:20:00Z"),
        ("1718400000.1234567", "2024-06-14T21:20:00.123456Z"),
        ("1718400000123.5", "2024-06-14T21:20:00.123500Z"),
        ("1111111111111", "2005-03-18T01:58:31.111000Z"),  # not the year 1111
    ],
)
def test_a_time_is_read_as_it_was_meant(value: str | int | float, instant: str) -> None:
    assert read(value) == instant


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "x", "yesterday", "may 5", "12:00", "2024-02-30", "2024-13-01", "2024-06-14T25:00:00Z",
        "Jun 31 10:00:00", "Foo 14 15:16:02", "14 Foo 2005", "2024-06-14T12:00:00+99:99", "0001-01-01",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1899-12-31", "2200-01-02", "-5", "+5", "1e9",
        "1e400", "nan", "inf", "²²²²²²²²²²", "1" * 30, "9" * 19, "2024-06-14 " * 10, "\ud800", "\0",
        float("nan"), float("inf"), float("-inf"), -1, -0.5, 10**400, 8e9, True,
    ],
)  # fmt: skip
def test_what_is_no_time_is_a_broken_item(value: str | int | float) -> None:
    with pytest.raises(BrokenItem):
        read(value)


def test_the_reason_shows_what_was_seen_but_not_all_of_it() -> None:
    with pytest.raises(BrokenItem, match="'yesterday'"):
        read("yesterday")
    with pytest.raises(BrokenItem) as caught:
        read("secret " * 1000)
    assert len(caught.value.reason) < 100


def test_a_time_without_a_zone_is_local_to_the_stream() -> None:
    assert read("2024-06-14", "Europe/Berlin") == "2024-06-13T22:00:00Z"
    assert read("2024-06-14 12:00:00", "Europe/Berlin") == "2024-06-14T10:00:00Z"
    assert read("Jun 14 12:00:00", "Europe/Berlin") == "2024-06-14T10:00:00Z"
    assert read("2024-06-14T12:00:00Z", "Europe/Berlin") == "2024-06-14T12:00:00Z"
    assert read(1718400000, "Europe/Berlin") == "2024-06-14T21:20:00Z"


def test_a_missing_year_is_the_latest_that_is_at_most_a_day_ahead() -> None:
    assert read("Jun 15 21:19:00") == "2024-06-15T21:19:00Z"
    assert read("Jun 15 21:21:00") == "2023-06-15T21:21:00Z"
    assert read("Dec 31 23:59:59") == "2023-12-31T23:59:59Z"
    assert read("Feb 29 00:00:00") == "2024-02-29T00:00:00Z"
    new_year = from_datetime(datetime(2024, 12, 31, 23, 59, tzinfo=UTC))
    assert to_iso(parse_time("Jan  1 00:00:05", received_us=new_year, zone=None)) == "2025-01-01T00:00:05Z"


@given(
    st.one_of(
        st.text(max_size=70),
        st.text(alphabet="0123456789-:./ TZ+,WJunDec", max_size=40),
        st.integers(),
        st.floats(),
    )
)
@settings(max_examples=500)
def test_any_value_is_an_instant_in_range_or_a_broken_item(value: str | int | float) -> None:
    try:
        instant = parse_time(value, received_us=RECEIVED, zone=ZoneInfo("America/New_York"))
    except BrokenItem:
        return
    assert EARLIEST_US <= instant <= LATEST_US


@given(st.datetimes(min_value=datetime(1901, 1, 1), max_value=datetime(2199, 12, 31), timezones=st.timezones()))
@settings(max_examples=200)
def test_what_iso_format_writes_is_read_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat(), received_us=RECEIVED, zone=None) == from_datetime(moment)
    assert parse_time(moment.isoformat(" "), received_us=RECEIVED, zone=None) == from_datetime(moment)


def test_the_common_shapes_are_read_in_about_a_microsecond() -> None:
    def cost_us(value: str | int) -> float:
        begin = time.perf_counter()
        for _ in range(2000):
            parse_time(value, received_us=RECEIVED, zone=None)
        return (time.perf_counter() - begin) / 2000 * 1e6

    for value in ("2024-06-14T12:00:00Z", "2024-06-14 12:00:00.123456", 1718400000):
        # Half a microsecond on an idle core; room for a busy machine.
        assert min(cost_us(value) for _ in range(20)) < 2.0
