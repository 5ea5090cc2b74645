"""A generated day: news, log lines and health reports, with surges planted at random.

A pure function of its seed: the same seed gives the same bytes, on every machine.
"""

from __future__ import annotations

from random import Random

from pipeline.demo.health import health
from pipeline.demo.hours import arrivals
from pipeline.demo.logs import logs
from pipeline.demo.news import news
from pipeline.demo.planted import Day, DayItem, Planted
from pipeline.demo.texts import read_bank
from pipeline.durations import parse_duration

__all__ = ["Day", "DayItem", "Planted", "generate"]


def generate(seed: int) -> Day:
    """The day of `seed`: one entry in `items` for each stream of `demo_streams.toml`."""
    draw = Random(seed)
    streams = read_bank("demo_streams")["streams"]
    items: dict[str, list[DayItem]] = {}
    planted: list[Planted] = []
    for name, made_by in (("news", news), ("logs", logs), ("health", health)):
        made, surges = made_by(draw)
        items[name] = arrivals(draw, made, lateness_us=parse_duration(streams[name]["lateness"]))
        planted += surges
    planted.sort(key=lambda surge: (surge.start_us, surge.stream))
    return Day(items=items, planted=planted, forms={"news": "json", "logs": "line", "health": "json"})
