"""Heartbeats: how the shell that owns a source tells the log that time goes on where nothing comes.

A heartbeat is a record in the raw log like any other, so replay sees the same ones. It says: nothing with an
event time before `time` is still under way here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.streams import Definition


@dataclass(slots=True)
class Idleness:
    """Decides when one partition gets a heartbeat. All times are the wall clock, in microseconds."""

    definition: Definition
    busy_us: int
    beat_us: int = 0

    def busy(self, now_us: int) -> None:
        """Something was appended, or the shell is not at the end of its source."""
        self.busy_us = now_us

    def due(self, now_us: int, complete_us: int) -> int | None:
        """The time of the heartbeat that is due now, or None. All that there was until `complete_us` is in the log.

        Only where arrival is the clock, and only after `idle_after` at the end; then one every `idle_after`, so
        that a quiet source is never further behind than twice that.
        """
        if self.definition.clock != "arrival":
            return None
        idle_us = self.definition.idle_after_us
        if now_us - self.busy_us < idle_us or now_us - self.beat_us < idle_us:
            return None
        self.beat_us = now_us
        return complete_us - idle_us
