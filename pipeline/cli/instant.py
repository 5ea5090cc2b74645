"""A time in an option, as people write it."""

from __future__ import annotations

from pipeline.clock import now_us
from pipeline.errors import BrokenItem, UsageError
from pipeline.ingest.timestamps import parse_time


def instant(option: str, text: str) -> int:
    """The time that an option names. Raises UsageError."""
    try:
        return parse_time(text, received_us=now_us(), zone=None)
    except BrokenItem as error:
        raise UsageError(f"{option} {text!r}: {error.reason}") from None
