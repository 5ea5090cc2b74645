"""What a generated day is made of: its items, and the surges that were planted in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DayItem:
    """One item as it is pushed: its event time, and a JSON object or a log line."""

    time_us: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Planted:
    """A surge that an analyst would report: `group` of `stream` turns bad in `[start_us, end_us)`.

    `group` is written as in keys ("topic:finance"); `what` says what happened, as a part of a sentence; `ids` are
    the planted items, where the stream's items bring ids.
    """

    stream: str
    group: str
    start_us: int
    end_us: int
    what: str
    ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Day:
    """Items of each stream in the order in which they arrive, and the planted surges by their start.

    `forms` says how the payloads of a stream are written. Arrival is event time but for a few items, which come
    later than others and still within the lateness of their stream.
    """

    items: Mapping[str, list[DayItem]]
    planted: list[Planted]
    forms: Mapping[str, Literal["json", "line"]]
