"""Ticks: intervals of event time, numbered.

Tick n is `[start(n), start(n + 1))`. Ticks shorter than a day, and all ticks of UTC, have a fixed width from
the anchor. Ticks of whole days in another zone follow its calendar, so a day of a change to summer time has 23
or 25 hours and still is one tick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from pipeline.instants import DAY_US, from_datetime, to_datetime

#: Monday: weeks begin where people expect them to.
MONDAY = date(2001, 1, 1)


@dataclass(frozen=True, slots=True)
class Ticks:
    """The ticks of a stream: `width_us` from local midnight of `anchor` in `zone`."""

    width_us: int
    zone: str = "UTC"
    anchor: date = MONDAY
    _origin_us: int = field(init=False, repr=False)
    _calendar: ZoneInfo | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.width_us <= 0:
            raise ValueError(f"a tick must be longer than zero, got {self.width_us} us")
        zone = ZoneInfo(self.zone)
        by_calendar = self.zone != "UTC" and self.width_us % DAY_US == 0
        midnight = datetime.combine(self.anchor, time_of_day(), tzinfo=zone)
        object.__setattr__(self, "_origin_us", from_datetime(midnight))
        object.__setattr__(self, "_calendar", zone if by_calendar else None)

    def index(self, time_us: int) -> int:
        """The number of the tick that holds this instant."""
        if self._calendar is None:
            return (time_us - self._origin_us) // self.width_us
        local = to_datetime(time_us).astimezone(self._calendar).date()
        return (local - self.anchor).days // (self.width_us // DAY_US)

    def start_us(self, tick: int) -> int:
        """The first instant of a tick."""
        if self._calendar is None:
            return self._origin_us + tick * self.width_us
        day = self.anchor + timedelta(days=tick * (self.width_us // DAY_US))
        return from_datetime(datetime.combine(day, time_of_day(), tzinfo=self._calendar))

    def end_us(self, tick: int) -> int:
        """The first instant after a tick."""
        return self.start_us(tick + 1)
