"""Matching: what counts as found, as missed and as a false alarm."""

from __future__ import annotations

from typing import Any

from pipeline.demo.matching import SLACK_TICKS, match
from pipeline.demo.planted import Planted
from pipeline.instants import MINUTE_US
from pipeline.records import Exemplar, Transition

WIDTH_US = 30 * MINUTE_US
START_US = 100 * WIDTH_US
END_US = 105 * WIDTH_US
PLANTED = Planted(
    stream="news", group="topic:finance", start_us=START_US, end_us=END_US, what="a crash", ids=frozenset({"n1"})
)


def opened(tick: int = 101, group: str = "topic:finance", **changes: Any) -> Transition:
    given: dict[str, Any] = {
        "id": f"{group}@{tick}",
        "sequence": 1,
        "run": "demo",
        "stream": "news",
        "definition": "d",
        "group": group,
        "direction": "up",
        "state": "opened",
        "severity": "warning",
        "tick": tick,
        "tick_us": tick * WIDTH_US,
        "tick_end_us": (tick + 1) * WIDTH_US,
        "opened_us": tick * WIDTH_US,
        "observed": 20,
        "total": 30,
        "expected": 5.0,
        "low": 2.0,
        "high": 9.0,
        "p": 1e-6,
    }
    return Transition(**(given | changes))


def shown(id: str) -> list[Exemplar]:
    return [Exemplar(-900_000, id, START_US, "wire", "text")]


def test_a_surge_of_the_planted_group_within_its_window_finds_it() -> None:
    transition = opened()
    result = match([PLANTED], [transition])
    assert (result.found, result.missed, result.false_alarms) == ([(PLANTED, transition)], [], [])


def test_nothing_opened_is_a_miss() -> None:
    result = match([PLANTED], [])
    assert (result.found, result.missed) == ([], [PLANTED])


def test_it_may_open_in_the_tick_in_which_the_planted_surge_starts_or_a_little_after_its_end() -> None:
    half = WIDTH_US // 2
    planted = Planted(stream="news", group="topic:finance", start_us=START_US + half, end_us=END_US + half, what="")
    assert match([planted], [opened(100)]).found
    assert match([planted], [opened(105 + SLACK_TICKS)]).found
    for tick in (99, 106 + SLACK_TICKS):
        result = match([planted], [opened(tick)])
        assert (result.missed, len(result.false_alarms)) == ([planted], 1)


def test_another_stream_or_a_drop_does_not_find_it() -> None:
    for wrong in (opened(stream="logs"), opened(direction="down")):
        result = match([PLANTED], [wrong])
        assert (result.missed, result.false_alarms) == ([PLANTED], [wrong])


def test_only_openings_count() -> None:
    result = match([PLANTED], [opened(state="grew"), opened(state="resolved"), opened(150, state="grew")])
    assert (result.missed, result.false_alarms) == ([PLANTED], [])


def test_the_whole_stream_rising_with_it_is_neither_a_find_nor_a_false_alarm() -> None:
    result = match([PLANTED], [opened(group="all")])
    assert (result.missed, result.false_alarms) == ([PLANTED], [])


def test_another_group_belongs_only_when_it_shows_planted_items() -> None:
    spilt = opened(group="topic:other", exemplars=shown("n1"))
    apart = opened(group="topic:politics", exemplars=shown("n2"))
    result = match([PLANTED], [spilt, apart])
    assert (result.missed, result.false_alarms) == ([PLANTED], [apart])


def test_the_whole_stream_rising_at_another_time_is_a_false_alarm() -> None:
    late = opened(150, group="all")
    assert match([PLANTED], [late]).false_alarms == [late]


def test_the_first_of_several_openings_is_the_find() -> None:
    first, again = opened(101), opened(104)
    result = match([PLANTED], [again, first])
    assert (result.found, result.false_alarms) == ([(PLANTED, first)], [])
