"""Alarms of the pipeline itself: a clock stands still, a source is down, an endpoint was disabled.

They take the way of surges: an alert of kind "system", its transitions, deliveries to those who subscribed.
Pure: no I/O, no clock.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class SystemAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an alarm: it begins ("opened") or ends ("resolved").

    `what` names the trouble: "clock_stalled", "source_down", "endpoint_disabled". `subject` says of what: a
    partition, a source, a subscription. `stream` is empty when it concerns no stream. `at_us` is the wall clock
    of this step, `since_us` of the beginning; `message` is one line for people that says what to do.
    """

    what: str
    subject: str
    message: str
    since_us: int
    at_us: int
    stream: str = ""
    state: Literal["opened", "resolved"] = "opened"
    severity: Literal["info", "warning", "critical"] = "critical"

    @property
    def id(self) -> str:
        """The same for the same trouble since the same instant."""
        named = "\x00".join((self.what, self.stream, self.subject, str(self.since_us)))
        return hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def group(self) -> str:
        """What subscriptions match: `system:<what>:<subject>`."""
        return f"system:{self.what}:{self.subject}"

    @property
    def sequence(self) -> int:
        return 1 if self.state == "opened" else 2
