"""Who is told: the rule by which a subscription matches a transition. Pure.

A subscription matches when all four hold: the stream and the group fit its patterns (`*` any text, `?` one
character, `[ab]` one of these; upper and lower case differ), the severity is at least its `min_severity`, and
the transition's state is one of its `states`. An alarm of the pipeline has the group
`system:<what>:<subject>` and, when it concerns no stream, the empty stream, which only `*` matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol, get_args

#: The run that people are woken by; other runs (replays, backtests) deliver nothing unless asked.
LIVE_RUN = "live"

Severity = Literal["info", "warning", "critical"]
State = Literal["opened", "grew", "resolved"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
STATES: tuple[State, ...] = get_args(State)


class Routed(Protocol):
    """What routing reads of a transition or of a system alarm."""

    @property
    def stream(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def severity(self) -> Severity: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a subscription wants."""

    stream: str = "*"
    group: str = "*"
    min_severity: Severity = "info"
    states: tuple[State, ...] = STATES


def route(wanted: Route, transition: Routed) -> bool:
    """Whether this transition goes to who wants this."""
    return (
        transition.state in wanted.states
        and SEVERITIES.index(transition.severity) >= SEVERITIES.index(wanted.min_severity)
        and fnmatchcase(transition.stream, wanted.stream)
        and fnmatchcase(transition.group, wanted.group)
    )
