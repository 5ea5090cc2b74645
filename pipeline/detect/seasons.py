"""Seasons: the harmonics of day, week and year that a stream's level carries, as a design vector a tick."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

from pipeline.instants import DAY_US, SECOND_US, WEEK_US, to_datetime
from pipeline.streams import Definition

#: Length of each season in microseconds; the year is the mean Gregorian one, 365.2425 days.
PERIOD_US = {"day": DAY_US, "week": WEEK_US, "year": 31_556_952 * SECOND_US}


class Seasons:
    """The harmonics of a stream.

    Two of each season, three of the week for ticks of a day; a harmonic faster than two ticks is left out, since
    ticks cannot show it. Day and week are those of the stream's zone, so they follow its summer time.
    """

    def __init__(self, definition: Definition) -> None:
        self._ticks = definition.ticks
        self._zone = None if definition.zone == "UTC" else ZoneInfo(definition.zone)
        #: (season's period in microseconds, order of the harmonic), one for each pair of cosine and sine.
        self.harmonics: list[tuple[int, int]] = []
        for season in ("day", "week", "year"):
            if season in definition.seasons:
                period = PERIOD_US[season]
                orders = 3 if season == "week" and definition.tick_us == DAY_US else 2
                self.harmonics += [
                    (period, order) for order in range(1, orders + 1) if period > 2 * order * definition.tick_us
                ]

    def design(self, tick: int) -> list[float]:
        """Cosine and sine of each harmonic at the start of a tick."""
        instant = self._ticks.start_us(tick)
        if self._zone is not None:
            offset = to_datetime(instant).astimezone(self._zone).utcoffset()
            instant += round(offset.total_seconds()) * SECOND_US if offset else 0
        values: list[float] = []
        for period, order in self.harmonics:
            angle = 2 * math.pi * order * ((instant % period) / period)
            values += [math.cos(angle), math.sin(angle)]
        return values
