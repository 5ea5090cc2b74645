"""Duties: what a thread does again and again, each whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pipeline.errors import BrokerUnavailable, StoreUnavailable

log = structlog.get_logger()


class Duties:
    """Does one duty at a time. A duty that fails is logged once, until it works again."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def do(self, duty: str, work: Callable[[], None]) -> None:
        """Do it now. Raises nothing."""
        try:
            work()
        except (StoreUnavailable, BrokerUnavailable):
            pass  # the others of this process say so; this duty is done again soon
        except Exception as error:  # whatever it was, the other duties must go on: without heartbeats all stands still
            if duty not in self._failing:
                self._failing.add(duty)
                log.warning("keeper_duty_failed", duty=duty, kind=type(error).__name__, error=str(error))
        else:
            if duty in self._failing:
                self._failing.discard(duty)
                log.info("keeper_duty_works", duty=duty)
