"""Alarms on their way to the store, which may be away: kept in order until they are in it.

Delivery: at least once while the process lives; storing one again changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy import Engine

from alerts import dispatcher
from alerts.store import transaction
from alerts.system_alarm import SystemAlarm

log = structlog.get_logger()

_OVER = {"clock_stalled": "clock_moves", "source_down": "source_up"}


class PendingAlarms:
    """`stored` is called after each alarm that was news to the store."""

    def __init__(self, engine: Engine, *, stored: Callable[[], None]) -> None:
        self._engine = engine
        self._stored = stored
        self._alarms: deque[SystemAlarm] = deque()

    def add(self, alarms: Iterable[SystemAlarm]) -> None:
        self._alarms.extend(alarms)

    def store(self) -> None:
        """Store what is pending. Raises StoreUnavailable; then the rest is still pending."""
        while self._alarms:
            alarm = self._alarms[0]
            with transaction(self._engine) as connection:
                news = dispatcher.store_system_alarm(connection, alarm)
            self._alarms.popleft()
            if news:
                if alarm.state == "resolved":
                    log.info(_OVER[alarm.what], partition=alarm.subject)
                self._stored()
