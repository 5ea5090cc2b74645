"""Durations as people write them: "5m", "1h", "2d", "1w", "250ms", or a number of seconds."""

from __future__ import annotations

import re

from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US, WEEK_US

_UNITS = {"ms": 1000, "s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US, "w": WEEK_US}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ms|s|m|h|d|w)", re.ASCII)
#: Longer ones (three decades) are a mistake, and would overflow sums with instants.
LONGEST_US = 10**9 * SECOND_US


def parse_duration(text: str | int | float) -> int:
    """A duration in microseconds. Raises ValueError that says what to write."""
    duration = -1.0
    if isinstance(text, str):
        found = _DURATION.fullmatch(text.strip().lower())
        if found:
            duration = float(found[1]) * _UNITS[found[2]]
    elif isinstance(text, (int, float)) and not isinstance(text, bool) and abs(text) < LONGEST_US:
        duration = float(text) * SECOND_US
    if not 0 <= duration < LONGEST_US:
        shown = text if len(str(text)) <= 40 else f"{str(text)[:40]}..."
        raise ValueError(f'{shown!r} is no duration; write for example "5m", "1h", "1d" or "1w"')
    return round(duration)
