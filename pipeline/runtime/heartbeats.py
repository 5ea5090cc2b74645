"""Heartbeats: how the shell that owns a source tells the log that time goes on where nothing comes.

A heartbeat is a record in the raw log like any other, so replay sees the same ones. It says: nothing with an
event time before `time` is still under way here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.instants import SECOND_US
from pipeline.streams import Definition


@dataclass(slots=True)
class Idleness:
    """Decides when one partition gets a heartbeat.

    How long it stood at its end is measured in seconds of a clock that nobody sets (`elapsed_s`); what a heartbeat
    says is an instant of the wall clock.
    """

    definition: Definition
    busy_s: float
    _beat_s: float = -math.inf
    _time_us: int | None = None

    def busy(self, elapsed_s: float) -> None:
        """Something was appended, or the shell is not at the end of its source."""
        self.busy_s = elapsed_s

    def due(self, elapsed_s: float, complete_us: int) -> int | None:
        """The time of the heartbeat that is due now, or None. All that there was until `complete_us` is in the log.

        It is never before that of the last one, although the wall clock may be set back. Only where arrival is the
        clock, and only after `idle_after` at the end; then one every `idle_after`, so that a quiet source is never
        further behind than twice that.
        """
        if self.definition.clock != "arrival":
            return None
        idle_us = self.definition.idle_after_us
        if elapsed_s - max(self.busy_s, self._beat_s) < idle_us / SECOND_US:
            return None
        self._beat_s = elapsed_s
        time_us = complete_us - idle_us
        self._time_us = time_us if self._time_us is None else max(self._time_us, time_us)
        return self._time_us
