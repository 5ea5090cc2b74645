"""`tocsin alerts ID --words` on what a pipeline has recorded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import Run, commands
from live import Live

from pipeline.scoring.null_engine import NullEngine

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
lateness = "1m"
clock = "data"
group = ["source"]
[[streams.logs.sources]]
kind = "push"
"""
START = datetime(2024, 5, 6, tzinfo=UTC)
CALM, BURST = 40, 3


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> Live:
    (tmp_path / "streams.toml").write_text(STREAMS)
    return Live(tmp_path, database_url, STREAMS)


@pytest.fixture
def run(tmp_path: Path, database_url: str) -> Run:
    return commands(
        tmp_path,
        TOCSIN_DATABASE_URL=database_url,
        TOCSIN_REDIS_URL="redis://127.0.0.1:1",
        TOCSIN_STREAMS=str(tmp_path / "streams.toml"),
    )


def texts(beginning: str, *, bad: bool) -> Iterator[str]:
    """Texts that the null engine calls bad, or fine; the last word of each is its own."""
    engine = NullEngine()
    for letters in itertools.product("bcdfghjklm", repeat=4):
        text = f"{beginning} {''.join(letters)}"
        probability = engine.score(engine.encode([text], "logs"))[0].probability
        if probability > 0.6 if bad else probability < 0.4:
            yield text


def items() -> list[dict[str, str]]:
    usual, refused = texts("session opened for user", bad=False), texts("connection refused by peer", bad=True)
    made = []
    for minute in range(CALM + BURST + 5):
        burst = CALM <= minute < CALM + BURST
        for second in range(30):
            text = next(refused if burst and second % 2 else usual)
            time = START + timedelta(minutes=minute, seconds=second)
            made.append({"time": time.isoformat(), "text": text, "source": "web"})
    return made


def test_a_surge_shows_the_words_that_its_key_did_not_say_before(live: Live, run: Run) -> None:
    with live.up():
        live.push(*items())
        live.folded()
        (alert, *_) = [json.loads(line)["alert"] for line in run("alerts", "--json").stdout.splitlines()]
        done = run("alerts", alert["id"], "--words")
    shown = json.loads(done.stdout)
    assert shown["alert"] == alert
    assert {word["word"] for word in shown["words"]} == {"connection", "refused", "by", "peer"}
    opened = datetime.fromisoformat(alert["opened_at"])
    assert START + timedelta(minutes=CALM) <= opened < START + timedelta(minutes=CALM + BURST)
    assert shown["signals"]["baseline"] == (opened - START) // timedelta(seconds=2)
    # Half of the burst's lines are bad, and each of them says each of these words.
    assert {word["here"] for word in shown["words"]} == {shown["signals"]["here"]}
    # The same record gives the same bytes, also when no pipeline runs.
    assert run("alerts", alert["id"], "--words").stdout == done.stdout


def test_words_that_cannot_be_shown_are_one_clear_line(live: Live, run: Run, tmp_path: Path) -> None:
    with live.up():
        live.push(*items())
        live.folded()
    (alert, *_) = [json.loads(line)["alert"] for line in run("alerts", "--json").stdout.splitlines()]
    without_id = run("alerts", "--words", code=2)
    assert without_id.stdout == b""
    assert b"tocsin alerts ID --words" in without_id.stderr
    (tmp_path / "other.toml").write_text(STREAMS.replace('tick = "1m"', 'tick = "2m"'))
    changed = run("alerts", alert["id"], "--words", code=1, TOCSIN_STREAMS=str(tmp_path / "other.toml"))
    assert changed.stdout == b""
    assert b"under another definition of stream logs" in changed.stderr
    assert b"TOCSIN_STREAMS" in changed.stderr
