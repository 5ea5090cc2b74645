"""Clocks of the local runtime on a real Postgres: heartbeats of idle sources, and alarms of those that stall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from live import Live, until
from structlog.testing import capture_logs

import pipeline.runtime.keeper
from alerts import tables
from pipeline.bucket import BucketState
from pipeline.records import decode

ARRIVAL = """
[streams.logs]
kind = "logs"
tick = "1s"
idle_after = "200ms"
stall_after = "700ms"
group = ["source"]
[[streams.logs.sources]]
kind = "push"
[[streams.logs.sources]]
name = "files"
kind = "directory"
path = "{folder}"
"""
PUSHED = """
[streams.logs]
kind = "logs"
tick = "1m"
lateness = "1m"
idle_after = "100ms"
group = ["source"]
[[streams.logs.sources]]
kind = "push"
"""


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper looks often."""
    monkeypatch.setattr(pipeline.runtime.keeper, "_BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(pipeline.runtime.keeper, "_LOOK_EVERY_S", 0.02)


def watermarks(live: Live) -> dict[str, int | None]:
    return {row.partition: row.watermark_us for row in live.rows(tables.positions)}


def closed_ticks(live: Live) -> list[int | None]:
    """The last closed tick of each bucket."""
    rows = live.rows(tables.fold_states)
    return [decode(bytes(row.state), BucketState).closed for row in rows if row.name.startswith("bucket/")]


@pytest.mark.usefixtures("_soon")
def test_heartbeats_close_the_ticks_of_idle_sources(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "in").mkdir()
    live = Live(tmp_path, database_url, ARRIVAL.format(folder=tmp_path / "in"))
    with live.up():
        live.push({"text": "x", "source": "web"})
        until(lambda: None not in (marks := watermarks(live)).values() and len(marks) == 2)
        before = dict(watermarks(live))
        until(lambda: all(mark > before[p] for p, mark in watermarks(live).items()))  # type: ignore[operator]
        until(lambda: closed_ticks(live) not in ([], [None]))
    assert live.counts()["counted"] == 1
    assert not live.rows(tables.alerts)


@pytest.mark.usefixtures("_soon")
def test_a_dead_clock_holds_ticks_open_and_people_are_told(tmp_path: Path, database_url: str) -> None:
    live = Live(tmp_path, database_url, ARRIVAL.format(folder=tmp_path / "in"))  # there is no such folder
    with capture_logs() as logs, live.up():
        live.push({"text": "x", "source": "web"})
        until(lambda: live.rows(tables.alerts))
        (alert,) = live.rows(tables.alerts)
        assert (alert.kind, alert.state, alert.stream) == ("system", "open", "logs")
        assert alert.group == "system:clock_stalled:logs/files"
        assert "no tick of logs closes until it goes on" in json.dumps(alert.latest)
        assert closed_ticks(live) == [None]
        (tmp_path / "in").mkdir()
        until(lambda: live.rows(tables.alerts)[0].state == "resolved")
        until(lambda: closed_ticks(live) != [None])
    events = [entry["event"] for entry in logs]
    assert events.count("clock_stalled") == events.count("clock_moves") == 1


@pytest.mark.usefixtures("_soon")
def test_an_alarm_of_one_process_is_resolved_by_the_next(tmp_path: Path, database_url: str) -> None:
    live = Live(tmp_path, database_url, ARRIVAL.format(folder=tmp_path / "in"))
    with live.up():
        until(lambda: live.rows(tables.alerts))
    assert live.rows(tables.alerts)[0].state == "open"
    (tmp_path / "in").mkdir()
    with live.up():
        until(lambda: live.rows(tables.alerts)[0].state == "resolved")
    assert len(live.rows(tables.alerts)) == 1


@pytest.mark.usefixtures("_soon")
def test_a_duty_that_fails_leaves_the_others_alone(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(tmp_path, database_url, PUSHED)

    def broken(self: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(pipeline.runtime.keeper.Keeper, "_retry_dead_letters", broken)
    with capture_logs() as logs, live.up():
        until(lambda: watermarks(live).get("logs/push"))
        before = watermarks(live)["logs/push"]
        until(lambda: watermarks(live)["logs/push"] != before)
    assert [entry["duty"] for entry in logs if entry["event"] == "keeper_duty_failed"] == ["retries"]
