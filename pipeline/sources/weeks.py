"""Numbered weeks, as health reports use them, as the date of their Monday."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

Calendar = Literal["cdc", "iso"]


def monday(year: int, week: int, calendar: Calendar) -> date:
    """The Monday of a numbered week. Raises ValueError when the year has no such week.

    "iso": ISO 8601, weeks from Monday, the first holds 4 January. "cdc": the MMWR weeks of the US Centers for
    Disease Control and Prevention, weeks from Sunday, the first holds 4 January. They differ by a week in years
    that begin on a Thursday, and only one of them has a week 53 in most of the others that have one.
    """
    if calendar == "iso":
        return date.fromisocalendar(year, week, 1)
    first = _first_sunday(year)
    sunday = first + timedelta(weeks=week - 1)
    if not first <= sunday < _first_sunday(year + 1):
        raise ValueError(f"{year} has no week {week}")
    return sunday + timedelta(days=1)


def _first_sunday(year: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - timedelta(days=fourth.isoweekday() % 7)
