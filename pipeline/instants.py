"""Instants: integers, microseconds since 1970-01-01 UTC. Pure conversions; no clock is read here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Event times must lie in these years: outside them arithmetic on days and zones overflows.
EARLIEST_US = (datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
LATEST_US = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def to_datetime(instant_us: int) -> datetime:
    """An instant as an aware UTC datetime. Raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=instant_us)


def to_iso(instant_us: int) -> str:
    """An instant as ISO 8601 with a `Z`; the fraction only when there is one."""
    return to_datetime(instant_us).isoformat().replace("+00:00", "Z")


def from_datetime(moment: datetime) -> int:
    """An aware datetime as an instant. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)
