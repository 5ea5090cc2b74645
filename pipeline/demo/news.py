"""A day of headlines: six topics and the rest, with a story that breaks in two of the topics."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from pipeline.demo.hours import times_of_day, times_within, windows
from pipeline.demo.planted import DayItem, Planted
from pipeline.demo.texts import Slots, read_bank
from pipeline.instants import HOUR_US, MINUTE_US, to_iso

HEADLINES = 7600
STORIES = 2
#: How much of the news a topic is.
TOPICS = {
    "finance": 0.18,
    "politics": 0.17,
    "infrastructure": 0.17,
    "public-health": 0.13,
    "disasters": 0.13,
    "security": 0.12,
    "other": 0.10,
}
#: The share of bad headlines on an ordinary day lies between these, by topic; of the rest, the share of good ones.
BAD = (0.15, 0.22)
GOOD = 0.4
#: Headlines of a story in half an hour, and the share of its topic's other headlines that still find a place.
STORY = (46, 60)
BESIDE_STORY = 0.25
#: Newsrooms sleep a little.
BY_HOUR = (8, 7, 7, 7, 8, 9, 10, 11, 12, 12, 12, 11, 11, 11, 12, 12, 12, 11, 11, 10, 10, 9, 9, 8)


def news(draw: Random) -> tuple[list[DayItem], list[Planted]]:
    """The headlines by event time, each with its id, time, text and source, and the surges planted in them."""
    bank = read_bank("news")
    slots = Slots(bank["slots"], bank["ranges"])
    topics = draw.sample([topic for topic in TOPICS if topic != "other"], STORIES)
    spans = windows(draw, STORIES, first_hour=10, shortest_us=2 * HOUR_US, longest_us=3 * HOUR_US)
    breaking = dict(zip(topics, spans, strict=True))

    headlines = _ordinary(draw, bank, slots, breaking)
    events: dict[str, str] = {}
    for topic, window in breaking.items():
        event = draw.choice([event for event in bank["events"] if event["topic"] == topic])
        words = slots.words(draw)
        events[topic] = slots.fill(draw, event["what"], words)
        for time_us in times_within(draw, window, each_us=30 * MINUTE_US, least=STORY[0], most=STORY[1]):
            headline = slots.sentence(draw, draw.choice(event["headlines"]), words)
            headline = _dressed(draw, slots, headline, bank["frames"]["story_plain"], bank["frames"]["story"])
            headlines.append((time_us, headline, topic))

    items = []
    ids: dict[str, set[str]] = {topic: set() for topic in breaking}
    for number, (time_us, text, story) in enumerate(sorted(headlines), start=1):
        item = {"id": f"n{number:05}", "time": to_iso(time_us), "text": text}
        item["source"] = draw.choice(bank["sources"]["names"])
        items.append(DayItem(time_us, msgspec.json.encode(item)))
        if story:
            ids[story].add(item["id"])
    return items, [
        Planted(
            stream="news",
            group=f"topic:{topic}",
            start_us=start,
            end_us=end,
            what=events[topic],
            ids=frozenset(ids[topic]),
        )
        for topic, (start, end) in breaking.items()
    ]


def _ordinary(
    draw: Random, bank: dict[str, Any], slots: Slots, breaking: dict[str, tuple[int, int]]
) -> list[tuple[int, str, str]]:
    """Headlines (time, text, no story) of an ordinary day; they make room where a story breaks."""
    bad_share = {topic: draw.uniform(*BAD) for topic in TOPICS}
    headlines = []
    for time_us in times_of_day(draw, HEADLINES, BY_HOUR):
        topic = draw.choices(list(TOPICS), list(TOPICS.values()))[0]
        start, end = breaking.get(topic, (0, 0))
        if start <= time_us < end and draw.random() >= BESIDE_STORY:
            continue
        mood = "bad" if draw.random() < bad_share[topic] else "good" if draw.random() < GOOD else "neutral"
        headline = slots.sentence(draw, draw.choice(bank["topics"][topic][mood]))
        headline = _dressed(draw, slots, headline, bank["frames"]["plain"], bank["frames"]["usual"])
        headlines.append((time_us, headline, ""))
    return headlines


def _dressed(draw: Random, slots: Slots, headline: str, plain: float, forms: list[str]) -> str:
    if draw.random() < plain:
        return headline
    return slots.fill(draw, draw.choice(forms), {"headline": headline})
