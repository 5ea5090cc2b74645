"""`tocsin replay --from --to`: what live found, found again, from the log, the archive, or both; apart from live."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from score_history import START_US, STREAMS, History, write_history
from sqlalchemy import Engine, delete, func, select
from test_archive import archive_all, delete_before
from typer.testing import CliRunner
from versions import load, promoted

from alerts import dispatcher, tables
from alerts.store import transaction
from model.engines import choose
from pipeline.archive.archive import Archive
from pipeline.cli import commands
from pipeline.cli.main import app
from pipeline.detect.digest import digest
from pipeline.errors import TocsinError, UsageError
from pipeline.instants import DAY_US, HOUR_US, to_iso
from pipeline.kafka import archive as archiving
from pipeline.kafka.past import Past
from pipeline.kafka.score_topic import ScoreTopic
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile

commands.register(app)

MakeTopics = Callable[[str], StreamFile]
FIRST, LAST = to_iso(START_US), to_iso(START_US + 4 * DAY_US)


@pytest.fixture
def history(kafka_settings: Settings, make_topics: MakeTopics, engine: Engine) -> History:
    """A history that the score log holds, whose transitions live has stored."""
    history = write_history(kafka_settings, make_topics(STREAMS).streams["logs"])
    with transaction(engine) as connection:
        dispatcher.store(connection, history.transitions, START_US)
    return history


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Command:
    """`tocsin` with the settings of the test, in this process."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, **changes: str | None) -> Done:
        cleared = {name: None for name in os.environ if name.startswith("TOCSIN_")}
        result = CliRunner().invoke(app, arguments, env=cleared | self.environment | changes)
        if isinstance(result.exception, TocsinError):
            code = 2 if isinstance(result.exception, UsageError) else 1
            return Done(code, result.stdout, f"{result.stderr}{result.exception}")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def tocsin(kafka_settings: Settings, database_url: str) -> Command:
    mine = {
        "TOCSIN_KAFKA": str(kafka_settings.kafka),
        "TOCSIN_KAFKA_PREFIX": kafka_settings.kafka_prefix,
        "TOCSIN_KAFKA_SIGNAL_PARTITIONS": "2",
        "TOCSIN_BUCKETS": "2",
        "TOCSIN_DATA": str(kafka_settings.data),
        "TOCSIN_DATABASE_URL": database_url,
        "TOCSIN_HISTORY_DAYS": "36500",
    }
    return Command(mine)


def verdict_of(done: Done) -> str:
    return next((line for line in done.stderr.splitlines() if line.startswith("logs: ") and ", live " in line), "")


@pytest.mark.usefixtures("history")
def test_the_whole_history_from_the_log_is_equal(tocsin: Command, history: History) -> None:
    done = tocsin("replay", "--from", FIRST, "--to", LAST, "--json")
    assert done.returncode == 0, done.stderr
    found = digest(history.transitions)[:16]
    assert verdict_of(done) == f"logs: replay {found}, live {found}: equal"
    assert len(done.stdout.splitlines()) == len(history.transitions)
    assert {json.loads(line)["stream"] for line in done.stdout.splitlines()} == {"logs"}
    assert "history ends at" in done.stderr  # --to lies beyond


def test_a_range_is_that_of_ticks(tocsin: Command, history: History) -> None:
    opened_us = history.transitions[0].tick_us
    here = [t for t in history.transitions if t.tick_us == opened_us]
    assert 0 < len(here) < len(history.transitions)
    done = tocsin("replay", "--from", to_iso(opened_us), "--to", to_iso(opened_us + HOUR_US), "--stream", "logs")
    assert done.returncode == 0, done.stderr
    assert verdict_of(done).startswith(f"logs: replay {digest(here)[:16]}, live {digest(here)[:16]}: equal")
    done = tocsin("replay", "--from", to_iso(opened_us + 1), "--to", to_iso(opened_us + HOUR_US))
    assert verdict_of(done).startswith(f"logs: replay {digest([])[:16]}, live {digest([])[:16]}: equal")


def test_what_live_did_not_find_is_a_difference(tocsin: Command, history: History, engine: Engine) -> None:
    last = history.transitions[-1]
    with transaction(engine) as connection:
        moved = tables.transitions.c
        connection.execute(delete(tables.transitions).where(moved.alert_id == last.id, moved.sequence == last.sequence))
    done = tocsin("replay", "--from", FIRST, "--to", LAST)
    assert done.returncode == 1
    assert "DIFFERENT" in verdict_of(done)
    assert "replay and live differ in logs" in done.stderr
    done = tocsin("replay", "--from", FIRST, "--to", LAST, TOCSIN_HISTORY_DAYS="365")
    assert done.returncode == 0  # that may have left the database long ago
    assert "equal in what the database still holds" in verdict_of(done)


def test_past_retention_history_is_still_there(
    kafka_settings: Settings, tocsin: Command, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive ends in the middle; the log begins where it ends; the range reaches over both."""
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 700)
    archiver = archiving.Archiver(
        Archive(kafka_settings.archive_folder), ScoreTopic(kafka_settings), archiving.Registry(kafka_settings)
    )
    next(archiver.run())
    head = Archive(kafka_settings.archive_folder).head
    assert head is not None
    for n, position in head.positions.items():
        assert 0 < position < ScoreTopic(kafka_settings).bounds()[n].end
        delete_before(kafka_settings, n, position)
    done = tocsin("replay", "--from", FIRST, "--to", LAST)
    assert done.returncode == 0, done.stderr
    assert verdict_of(done).endswith("equal")
    last_us = max(t.tick_us for t in history.transitions)
    done = tocsin("replay", "--from", to_iso(last_us), "--to", LAST, TOCSIN_ARCHIVE=str(kafka_settings.data / "none"))
    assert done.returncode == 1
    assert "run `tocsin archive` before history_days pass" in done.stderr
    archive_all(kafka_settings)
    for n, bounds in ScoreTopic(kafka_settings).bounds().items():
        delete_before(kafka_settings, n, bounds.end)
    assert verdict_of(tocsin("replay", "--from", FIRST, "--to", LAST)).endswith("equal")
    done = tocsin("replay", "--from", FIRST, "--to", LAST, TOCSIN_KAFKA=None)
    assert done.returncode == 0, done.stderr
    assert verdict_of(done).endswith("equal")


def test_a_range_in_the_middle_begins_at_an_archived_state(
    kafka_settings: Settings, tocsin: Command, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 100)
    archive_all(kafka_settings)
    begin_us = history.transitions[4].tick_us
    end_us = begin_us + HOUR_US
    replay = Past(kafka_settings).replay(["logs"], begin_us, end_us)
    steps = list(replay.steps())
    here = [t for t in history.transitions if begin_us <= t.tick_us < end_us]
    assert digest(t for step in steps for t in step.transitions) == digest(here)
    assert here
    assert replay.began_after["logs"] > 3
    assert 0 < sum(step.signals for step in steps) < len(history.signals) / 2
    done = tocsin("replay", "--from", to_iso(begin_us), "--to", to_iso(end_us))
    assert verdict_of(done).endswith("equal")


def test_a_replay_into_a_run_is_stored_apart_and_told_to_nobody(
    tocsin: Command, history: History, engine: Engine
) -> None:
    with transaction(engine) as connection:
        connection.execute(
            tables.subscriptions.insert().values(
                id="sub_1",
                url="https://example.org",
                states=["opened", "grew", "resolved"],
                secret=b"",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
    for _ in range(2):
        done = tocsin("replay", "--from", FIRST, "--to", LAST, "--into", "what-if")
        assert done.returncode == 0, done.stderr
    counts = select(tables.alerts.c.run, func.count()).group_by(tables.alerts.c.run)
    with transaction(engine) as connection:
        assert dict(connection.execute(counts).all()) == {"live": 4, "what-if": 4}  # type: ignore[arg-type]
        assert connection.scalar(select(func.count()).select_from(tables.transitions)) == 16
        assert connection.scalar(select(func.count()).select_from(tables.deliveries)) == 0
    shown = [json.loads(line) for line in tocsin("alerts", "--run", "what-if", "--json").stdout.splitlines()]
    assert len(shown) == 4
    assert len(tocsin("alerts", "--json").stdout.splitlines()) == 4  # live's
    done = tocsin("replay", "--from", FIRST, "--to", LAST, "--into", "what-if", "--rescore", "null")
    assert done.returncode == 1
    assert "holds a replay of" in done.stderr
    opened_us = history.transitions[0].tick_us
    done = tocsin("replay", "--from", FIRST, "--to", to_iso(opened_us + HOUR_US), "--into", "cut-short")
    assert done.returncode == 0, done.stderr
    assert len(tocsin("alerts", "--run", "cut-short", "--open", "--json").stdout.splitlines()) == 2
    assert json.loads(tocsin("status", "--json").stdout)["open_alerts"] == 0  # live's
    done = tocsin("replay", "--from", FIRST, "--to", LAST, "--into", "told", "--deliver")
    assert done.returncode == 0, done.stderr
    with transaction(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(tables.deliveries)) == 8


@pytest.mark.usefixtures("history")
def test_signals_can_be_scored_again(tocsin: Command, history: History) -> None:
    done = tocsin("replay", "--from", FIRST, "--to", LAST, "--rescore", "null")
    assert done.returncode == 0, done.stderr
    same = digest(history.transitions)[:16]  # the same engine gives the same scores
    assert verdict_of(done) == f"logs: rescored with null-1 {same}, live {same}: other scores, not compared"


@pytest.mark.usefixtures("history")
def test_signals_are_scored_again_by_a_version_or_the_live_classifier(
    tocsin: Command, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "load_engine", lambda name, *, folder, topics, base: load(folder))
    older, newer = promoted(engine, tmp_path, 2.0), promoted(engine, tmp_path, 3.0)
    for name, version in ((older, older), ("live", newer)):
        done = tocsin("replay", "--from", FIRST, "--to", LAST, "--rescore", name)
        assert done.returncode == 0, done.stderr
        assert verdict_of(done).startswith(f"logs: rescored with {version} ")


def test_what_a_replay_needs_is_said(tocsin: Command, tmp_path: Path) -> None:
    done = tocsin("replay", "--from", FIRST, "--to", LAST, TOCSIN_KAFKA=None, TOCSIN_DATA=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "there is no history" in done.stderr
    done = tocsin("replay", "--from", FIRST, "--to", LAST, TOCSIN_DATABASE_URL=None)
    assert done.returncode == 1
    assert "TOCSIN_DATABASE_URL" in done.stderr


@pytest.mark.usefixtures("history")
def test_a_stream_without_history_is_named(tocsin: Command) -> None:
    done = tocsin("replay", "--from", FIRST, "--to", LAST, "--stream", "news")
    assert done.returncode == 2
    assert "no history of stream 'news'; there is logs" in done.stderr
