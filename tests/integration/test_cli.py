"""The commands beside a running pipeline: status, subscriptions, dead letters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Run, commands
from live import Live, until

import pipeline.runtime.keeper
from alerts import tables
from alerts.store import create_engine, transaction

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
clock = "data"
group = ["source"]
[[streams.logs.sources]]
kind = "push"
"""
SECRETS = b'{"time":"2024-05-06T10:00:00Z","message":"call jane.doe@example.org, token=abcdef0123456789"}'
GOOD = {"time": "2024-05-06T10:00:00Z", "text": "all fine", "source": "web"}


@pytest.fixture
def live(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(pipeline.runtime.keeper, "_LOOK_EVERY_S", 0.05)
    return Live(tmp_path, database_url, STREAMS)


@pytest.fixture
def run(tmp_path: Path, database_url: str) -> Run:
    return commands(tmp_path, TOCSIN_DATABASE_URL=database_url, TOCSIN_REDIS_URL="redis://127.0.0.1:1")


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_status_adds_up(live: Live, run: Run) -> None:
    (nothing,) = objects(run("status", "--json"))
    assert nothing["accepted"] == nothing["waiting"] == 0
    with live.up():
        live.push(
            *[GOOD] * 3, b"{broken", GOOD | {"id": "a"}, GOOD | {"id": "a"}, GOOD | {"time": "2024-05-06T09:00:00Z"}
        )
        live.folded()
        (status,) = objects(run("status", "--json"))
    fates = {k: status[k] for k in ("counted", "late", "duplicates", "dead_letters", "waiting")}
    assert fates == {"counted": 4, "late": 1, "duplicates": 1, "dead_letters": 1, "waiting": 0}
    assert status["accepted"] == 7 == sum(fates.values())
    assert [one["partition"] for one in status["partitions"]] == ["logs/push"]
    table = run("status").stdout.decode()
    assert table.splitlines()[0].split()[:3] == ["partition", "accepted", "counted"]
    assert "open alerts: 0; deliveries: none" in table


def test_what_was_accepted_and_not_folded_yet_is_waiting(live: Live, run: Run) -> None:
    with live.up():
        live.push(*[GOOD] * 3)
        live.folded()
    engine = create_engine(live.database_url, pool_size=1)
    with transaction(engine) as connection:  # as before the first checkpoint
        connection.execute(tables.positions.delete())
    engine.dispose()
    (status,) = objects(run("status", "--json"))
    assert (status["accepted"], status["waiting"]) == (3, 3)


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("https://10.1.2.3/hook", 1, b"egress_allow"),
        ("https://[::1]/hook", 1, b"egress_allow"),
        ("https://169.254.169.254/latest", 1, b"egress_allow"),
        ("http://93.184.216.34/hook", 1, b"use https://"),
        ("ftp://example.org/", 2, b"https://"),
    ],
)
def test_a_private_or_unsafe_address_is_refused_with_a_hint(run: Run, url: str, code: int, said: bytes) -> None:
    done = run("subscribe", url, code=code)
    assert said in done.stderr
    assert done.stdout == b""
    assert run("subscriptions", "list", "--json").stdout == b""


def test_a_subscription_shows_its_secret_once(run: Run) -> None:
    allow = {"TOCSIN_EGRESS_ALLOW": '["10.0.0.0/8"]'}
    (made,) = objects(run("subscribe", "https://10.1.2.3/hook", "--stream", "logs", "--json", **allow))
    assert made["secret"].startswith("whsec_")
    listed = run("subscriptions", "list", "--json").stdout.decode()
    assert made["id"] in listed
    assert made["secret"] not in listed
    (before,) = objects(run("subscriptions", "list", "--json"))
    assert before["enabled"]
    run("subscriptions", "remove", made["id"])
    assert run("subscriptions", "list", "--json").stdout == b""
    run("subscriptions", "remove", made["id"], code=1)


@pytest.mark.parametrize(
    "arguments",
    [("--min-severity", "fatal"), ("--state", "closed")],
)
def test_a_wrong_route_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    run("subscribe", "https://10.1.2.3/hook", *arguments, code=2, TOCSIN_EGRESS_ALLOW='["10.0.0.0/8"]')


def test_dead_letters_are_listed_masked_and_shown_raw_only_when_asked(live: Live, run: Run) -> None:
    with live.up():
        live.push(SECRETS, b"x" * 70 + b" jane.doe@example.org", GOOD | {"time": "jane.doe@example.org"})
        live.folded()
        listed = run("dead-letters", "list").stdout.decode()
        found = objects(run("dead-letters", "list", "--json", "--stream", "logs"))
        first = min(one["id"] for one in found)
        shown = run("dead-letters", "show", str(first)).stdout.decode()
        raw = run("dead-letters", "show", str(first), "--raw").stdout
    assert len(found) == 3
    for text in (listed, json.dumps(found), shown):
        assert "jane" not in text
        assert "abcdef0123456789" not in text
    assert "call [email], token=[token]" in shown
    assert raw == SECRETS
    assert run("dead-letters", "list", "--stream", "news", "--json").stdout == b""


def test_a_retried_dead_letter_is_counted_once_when_it_is_valid_then(live: Live, run: Run) -> None:
    with live.up():
        live.push(SECRETS, GOOD)
        live.folded()
        (letter,) = objects(run("dead-letters", "list", "--json"))
        run("dead-letters", "retry", str(letter["id"]))
        # Nothing has changed: it is a dead letter again, a new one.
        until(lambda: live.counts()["dead"] == 2)
    assert live.counts() == {"accepted": 3, "counted": 1, "late": 0, "duplicates": 0, "dead": 2}
    live.streams = STREAMS.replace('tick = "1m"', 'tick = "1m"\ncolumns = { text = "message" }')
    newest = max(row.id for row in live.rows(tables.dead_letters))
    run("dead-letters", "retry", str(newest))
    with live.up():
        until(lambda: live.counts()["counted"] == 2)
        until(lambda: all(row.retried_at for row in live.rows(tables.dead_letters)))
    engine = create_engine(live.database_url, pool_size=1)
    with transaction(engine) as connection:  # as if it had died between the journal and this note
        connection.execute(tables.dead_letters.update().values(retried_at=None))
    engine.dispose()
    with live.up():
        until(lambda: all(row.retried_at for row in live.rows(tables.dead_letters)))
        live.folded()
    assert live.counts() == {"accepted": 4, "counted": 2, "late": 0, "duplicates": 0, "dead": 2}
    (status,) = objects(run("status", "--json"))
    assert (status["accepted"], status["waiting"]) == (4, 0)


def test_a_retry_of_nothing_or_everything_at_once_is_refused(live: Live, run: Run) -> None:
    assert b"name the dead letters to retry, or say --all" in run("dead-letters", "retry", code=2).stderr
    assert b"there is no dead letter 7" in run("dead-letters", "retry", "7", code=1).stderr
    assert b"there is no dead letter 7" in run("dead-letters", "show", "7", code=1).stderr
    run("dead-letters", "retry", "7", "--all", code=2)
    with live.up():
        live.push(SECRETS, SECRETS)
        live.folded()
        assert b"2 dead letters" in run("dead-letters", "retry", "--all", "--stream", "logs").stderr
        until(lambda: live.counts()["dead"] == 4)
        assert b"2 dead letters" in run("dead-letters", "retry", "--all").stderr  # the two new ones
        until(lambda: live.counts()["dead"] == 6)


def test_a_database_that_does_not_answer_is_one_clear_line(run: Run) -> None:
    done = run("status", code=1, TOCSIN_DATABASE_URL="postgresql://user:hunter2@127.0.0.1:1/none")
    assert b"Postgres does not answer" in done.stderr
    assert b"hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("TOCSIN_PORT", "http"), ("TOCSIN_DATABASE_URL", "mysql://user:hunter2@host/name")]
)
def test_a_wrong_setting_is_one_clear_line(run: Run, name: str, value: str) -> None:
    done = run("status", code=1, **{name: value})
    assert len(done.stderr.decode().strip().splitlines()) == 1
    assert b"hunter2" not in done.stderr
