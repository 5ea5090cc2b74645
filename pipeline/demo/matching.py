"""Matching: which surges that were found are those that were planted.

A surge belongs to a planted one of its stream and time: it opened in a tick that overlaps the planted window, or at
most `SLACK_TICKS` after it, rising. It finds it when it is of the planted group. When it is of another group that the
planted items are counted in as well (the whole stream, or one that shows a planted item as evidence, since a
classifier may put some under another topic), it is neither a find nor a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.demo.planted import Planted
from pipeline.keys import ALL
from pipeline.records import Transition

#: A few weak ticks may have to add up before a surge opens.
SLACK_TICKS = 2


@dataclass(frozen=True, slots=True)
class Result:
    """`found` holds each planted surge that was found with the transition that opened it first; `missed` the
    others; `false_alarms` the opening transitions that belong to no planted surge."""

    found: list[tuple[Planted, Transition]]
    missed: list[Planted]
    false_alarms: list[Transition]


def match(planted: Sequence[Planted], transitions: Iterable[Transition]) -> Result:
    """Match what was planted with the transitions of a run, of all streams, in any order."""
    opened = sorted((t for t in transitions if t.state == "opened"), key=lambda t: (t.opened_us, t.stream, t.id))
    found: dict[Planted, Transition] = {}
    false_alarms = []
    for transition in opened:
        near = [surge for surge in planted if _is_near(surge, transition)]
        for surge in near:
            if transition.group == surge.group:
                found.setdefault(surge, transition)
        if not any(_shares_items(surge, transition) for surge in near):
            false_alarms.append(transition)
    return Result(
        found=[(surge, found[surge]) for surge in planted if surge in found],
        missed=[surge for surge in planted if surge not in found],
        false_alarms=false_alarms,
    )


def _is_near(surge: Planted, transition: Transition) -> bool:
    width_us = transition.tick_end_us - transition.tick_us
    return (
        transition.stream == surge.stream
        and transition.direction == "up"
        and surge.start_us < transition.opened_us + width_us
        and transition.opened_us < surge.end_us + SLACK_TICKS * width_us
    )


def _shares_items(surge: Planted, transition: Transition) -> bool:
    if transition.group in (surge.group, ALL):
        return True
    return any(exemplar.id in surge.ids for exemplar in transition.exemplars)
