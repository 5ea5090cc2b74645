"""Durations as people write them: "5m", "1h", "2d", "1w", "250ms", or a number of seconds."""

from __future__ import annotations

import re

from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US, WEEK_US

_UNITS = {"ms": 1000, "s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US, "w": WEEK_US}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str | int | float) -> int:
    """A duration in microseconds. Raises ValueError that says what to write."""
    if isinstance(text, bool) or not isinstance(text, str):
        if isinstance(text, bool) or not 0 <= float(text) < 1e9:
            raise ValueError(f'{text!r} is no duration; write for example "5m", "1h", "1d" or "1w"')
        return round(float(text) * SECOND_US)
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise ValueError(f'{text!r} is no duration; write for example "5m", "1h", "1d" or "1w"')
    return round(float(found[1]) * _UNITS[found[2]])


def format_duration(duration_us: int) -> str:
    """The shortest exact way to write a duration."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        if duration_us and duration_us % _UNITS[unit] == 0:
            return f"{duration_us // _UNITS[unit]}{unit}"
    return f"{duration_us / SECOND_US:g}s"
