"""What people are told of stalled clocks."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from alerts.system_alarm import SystemAlarm
from pipeline.instants import MINUTE_US, to_iso
from pipeline.runtime.stalls import Stall, StallWatch
from pipeline.streams import Definition

log = structlog.get_logger()


class StallAlarms:
    """Watches the clocks of all streams. `advice` ends each alarm: what to look at."""

    def __init__(self, definitions: Mapping[str, Definition], *, advice: str) -> None:
        self._watches = {name: StallWatch(definition) for name, definition in definitions.items()}
        self._advice = advice

    def look(self, watermarks: Mapping[str, int | None], now_us: int, elapsed_s: float) -> list[SystemAlarm]:
        """What is news, given the watermark of each clock that is known; see `StallWatch.look`."""
        return [
            self._alarm(watch.definition, stall, now_us)
            for watch in self._watches.values()
            for stall in watch.look(
                {p: watermarks[p] for p in watch.definition.clocks if p in watermarks}, now_us, elapsed_s
            )
        ]

    def _alarm(self, definition: Definition, stall: Stall, now_us: int) -> SystemAlarm:
        if not stall.over:
            log.warning("clock_stalled", partition=stall.partition)
        minutes = definition.stall_after_us / MINUTE_US
        return SystemAlarm(
            what="clock_stalled",
            stream=definition.name,
            subject=stall.partition,
            message=f"{stall.partition} goes on"
            if stall.over
            else f"nothing from {stall.partition} for {minutes:g} minutes (since {to_iso(stall.since_us)}): "
            f"no tick of {definition.name} closes until it goes on; {self._advice}",
            since_us=stall.since_us,
            at_us=now_us,
            state="resolved" if stall.over else "opened",
        )
