"""A day of health reports from eight regions, with an outbreak in one or two of them."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import msgspec

from pipeline.demo.hours import times_of_day, times_within, windows
from pipeline.demo.planted import DayItem, Planted
from pipeline.demo.texts import Slots, read_bank
from pipeline.instants import HOUR_US, MINUTE_US, to_iso

REPORTS = 1000
#: The shares of worrying and of good reports on an ordinary day.
WORRYING, GOOD = 0.05, 0.10
#: Reports of an outbreak in half an hour.
OUTBREAK = (9, 14)
#: Most offices report by day; hospitals report at all hours.
BY_HOUR = (6, 6, 6, 6, 6, 7, 8, 9, 10, 10, 10, 10, 9, 10, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6)


class _Report(NamedTuple):
    time_us: int
    text: str
    words: dict[str, str]
    planted: bool


def health(draw: Random) -> tuple[list[DayItem], list[Planted]]:
    """The reports by event time, each with its id, time, text, source, region and disease, and the outbreaks."""
    bank = read_bank("health")
    slots = Slots(bank["slots"], bank["ranges"])
    reports: list[_Report] = []
    for time_us in times_of_day(draw, REPORTS, BY_HOUR):
        chance = draw.random()
        mood = "worrying" if chance < WORRYING else "good" if chance < WORRYING + GOOD else "routine"
        words = slots.words(draw)
        reports.append(_Report(time_us, slots.sentence(draw, draw.choice(bank[mood]), words), words, False))

    number = draw.randint(1, 2)
    regions = draw.sample(bank["slots"]["region"], number)
    spans = windows(draw, number, first_hour=9, shortest_us=150 * MINUTE_US, longest_us=4 * HOUR_US)
    outbreaks = {
        region: (span, draw.choice(bank["slots"]["disease"])) for region, span in zip(regions, spans, strict=True)
    }
    for region, (window, disease) in outbreaks.items():
        for time_us in times_within(draw, window, each_us=30 * MINUTE_US, least=OUTBREAK[0], most=OUTBREAK[1]):
            words = slots.words(draw) | {"region": region, "disease": disease}
            reports.append(_Report(time_us, slots.sentence(draw, draw.choice(bank["outbreak"]), words), words, True))

    items = []
    ids: dict[str, set[str]] = {region: set() for region in outbreaks}
    reports.sort(key=lambda report: report.time_us)
    for at, report in enumerate(reports, start=1):
        words = report.words
        item = {"id": f"h{at:05}", "time": to_iso(report.time_us), "text": report.text}
        item |= {"source": words["site"], "region": words["region"], "disease": words["disease"]}
        items.append(DayItem(report.time_us, msgspec.json.encode(item)))
        if report.planted:
            ids[words["region"]].add(item["id"])
    return items, [
        Planted(
            stream="health",
            group=f"region:{region}",
            start_us=start,
            end_us=end,
            what=slots.fill(draw, bank["what"], {"region": region, "disease": disease}),
            ids=frozenset(ids[region]),
        )
        for region, ((start, end), disease) in outbreaks.items()
    ]
