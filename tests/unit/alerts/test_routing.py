"""Who is told."""

from __future__ import annotations

import pytest

from alerts.routing import Route, route
from alerts.system_alarm import SystemAlarm
from pipeline.records import Transition


def surge(
    stream: str = "news", group: str = "topic:finance", state: str = "opened", severity: str = "warning"
) -> Transition:
    return Transition(
        id="a",
        sequence=1,
        run="live",
        stream=stream,
        definition="d",
        group=group,
        direction="up",
        state=state,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        tick=1,
        tick_us=0,
        tick_end_us=1,
        opened_us=0,
        observed=1,
        total=1,
        expected=1.0,
        low=0.0,
        high=1.0,
        p=0.1,
    )


def test_who_wants_all_gets_all() -> None:
    assert route(Route(), surge())
    assert route(Route(), surge(stream="", group=""))


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        (Route(stream="news"), True),
        (Route(stream="logs"), False),
        (Route(stream="n*"), True),
        (Route(stream="News"), False),
        (Route(group="topic:*"), True),
        (Route(group="topic:f?nance"), True),
        (Route(group="topic"), False),
        (Route(stream="news", group="source:*"), False),
    ],
)
def test_patterns_match_the_whole_name(wanted: Route, goes: bool) -> None:
    assert route(wanted, surge()) is goes


@pytest.mark.parametrize(
    ("least", "severities"),
    [
        ("info", ["info", "warning", "critical"]),
        ("warning", ["warning", "critical"]),
        ("critical", ["critical"]),
    ],
)
def test_a_severity_and_all_above_it(least: str, severities: list[str]) -> None:
    wanted = Route(min_severity=least)  # type: ignore[arg-type]
    assert [s for s in ("info", "warning", "critical") if route(wanted, surge(severity=s))] == severities


def test_only_the_states_that_are_wanted() -> None:
    assert not route(Route(states=("opened", "resolved")), surge(state="grew"))
    assert route(Route(states=("opened", "resolved")), surge(state="resolved"))


def test_an_alarm_of_the_pipeline_has_a_group_of_its_own() -> None:
    alarm = SystemAlarm(what="source_down", subject="feed", message="", since_us=0, at_us=0)
    assert route(Route(group="system:source_down:*"), alarm)
    assert not route(Route(group="topic:*"), alarm)
    assert not route(Route(stream="news"), alarm)
