"""What follows an attempt: the decision and the schedule. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from pipeline.instants import HOUR_US, SECOND_US, from_datetime

_MINUTE, _HOUR = 60, 3600

#: Seconds from one attempt to the next: ten attempts over 75 hours, the first at once (Standard Webhooks).
WAITS_S = (
    5,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
#: Each wait is stretched by up to this share, so that a receiver that comes back is not met by all at once.
JITTER = 0.2
#: A receiver cannot ask for more.
MAX_ASKED_S = 24 * _HOUR
#: An endpoint that only failed for so long is disabled.
DISABLE_AFTER_US = 120 * HOUR_US


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a delivery: "pending" again after `wait_s`, or finished. `gone`: disable the endpoint."""

    state: Literal["pending", "delivered", "exhausted"]
    wait_s: float = 0.0
    gone: bool = False


def decide(*, attempt: int, status: int | None, asked_s: float, jitter: float) -> Decision:
    """Say what follows attempt number `attempt`, counted from 1 since the delivery was queued.

    `status` is None when no answer came; `asked_s` is Retry-After in seconds, 0 when absent (RFC 9110, section
    10.2.3); `jitter` is a uniform draw in [0, 1). Only 2xx is success: a redirect is a failure, since the new
    address was never checked, and 410 means never again. Raises ValueError if `attempt` < 1.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, got {attempt}")
    if status is not None and 200 <= status < 300:
        return Decision("delivered")
    if status == 410 or attempt > len(WAITS_S):
        return Decision("exhausted", gone=status == 410)
    wait_s = WAITS_S[attempt - 1] * (1 + JITTER * jitter)
    return Decision("pending", max(wait_s, min(asked_s, MAX_ASKED_S)))


def has_only_failed(first_failure_us: int, now_us: int) -> bool:
    """Whether an endpoint whose first failure since its last success was then is to be disabled."""
    return now_us - first_failure_us >= DISABLE_AFTER_US


def asked_wait_s(retry_after: str, now_us: int) -> float:
    """Retry-After in seconds from now, in [0, MAX_ASKED_S]; 0 for what cannot be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), MAX_ASKED_S))
    try:
        at_us = from_datetime(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max((at_us - now_us) / SECOND_US, 0.0), float(MAX_ASKED_S))
