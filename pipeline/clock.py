"""The wall clock: the only module that reads it.

Folds never import this; they get their times from the log.
"""

from __future__ import annotations

import time


def now_us() -> int:
    """The wall clock, in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
