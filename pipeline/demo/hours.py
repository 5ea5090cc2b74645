"""The hours of the generated day: when items happen, when surges run, and what arrives out of order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from pipeline.demo.planted import DayItem
from pipeline.instants import DAY_US, HOUR_US, MINUTE_US, from_datetime

#: A Monday, in the past for everybody who runs this: items from the future are refused.
DAY_START_US = from_datetime(datetime(2026, 3, 2, tzinfo=UTC))
DAY_END_US = DAY_START_US + DAY_US
#: No surge runs after this: it could not be seen to end.
LAST_US = DAY_START_US + 22 * HOUR_US
#: Between two surges of one stream: each is to be seen apart.
APART_US = 45 * MINUTE_US

#: The share of items that arrive out of order.
DELAYED = 0.02


def times_of_day(draw: Random, count: int, by_hour: Sequence[float]) -> list[int]:
    """`count` instants of the day, unsorted; `by_hour` are 24 weights."""
    hours = draw.choices(range(24), by_hour, k=count)
    return [DAY_START_US + hour * HOUR_US + draw.randrange(HOUR_US) for hour in hours]


def windows(draw: Random, count: int, *, first_hour: int, shortest_us: int, longest_us: int) -> list[tuple[int, int]]:
    """`count` times at which surges start and end, in whole minutes, in order and apart from each other. None
    starts before `first_hour`: until then the stream is learning what is usual."""
    first_us = DAY_START_US + first_hour * HOUR_US
    lengths = [draw.randrange(shortest_us, longest_us, MINUTE_US) for _ in range(count)]
    spare = LAST_US - first_us - sum(lengths) - APART_US * (count - 1)
    assert spare > 0, "the surges do not fit in a day"
    gaps = sorted(draw.randrange(0, spare, MINUTE_US) for _ in range(count))
    found = []
    used = 0
    for gap, length in zip(gaps, lengths, strict=True):
        start = first_us + gap + used
        found.append((start, start + length))
        used += length + APART_US
    return found


def times_within(draw: Random, window: tuple[int, int], *, each_us: int, least: int, most: int) -> list[int]:
    """Instants spread over `window`: between `least` and `most` in every `each_us`, the same rate throughout."""
    start, end = window
    count = round((end - start) / each_us * draw.uniform(least, most))
    return [draw.randrange(start, end) for _ in range(count)]


def arrivals(draw: Random, items: Sequence[DayItem], *, lateness_us: int) -> list[DayItem]:
    """The items in the order in which they arrive: by time, a few of them later by less than the lateness.

    None is late to ingest: whatever arrives before an item happened less than the lateness after it.
    """
    delayed = []
    for number, item in enumerate(items):
        delay = draw.randrange(lateness_us) if draw.random() < DELAYED else 0
        delayed.append((item.time_us + delay, number))
    return [items[number] for _, number in sorted(delayed)]
