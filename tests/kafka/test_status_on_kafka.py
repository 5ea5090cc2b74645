"""`tocsin status`, `doctor` and the commands around alerts, on a Kafka deployment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deployed import STREAMS, Deployment, running, wait_until
from pydantic import SecretStr

from alerts.keyring import new_key
from pipeline.cli import checks
from pipeline.errors import BrokerUnavailable, TocsinError
from pipeline.kafka import dispatch, ingest
from pipeline.settings import Settings

CLOCK = "logs/push/0"


@pytest.fixture
def deployment(kafka_settings: Settings, database_url: str, tmp_path: Path) -> Deployment:
    streams = tmp_path / "streams.toml"
    streams.write_text(STREAMS)
    more = {"database_url": SecretStr(database_url), "streams": streams}
    return Deployment(kafka_settings.model_copy(update=more))


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "TOCSIN_DATA": str(settings.data),
        "TOCSIN_KAFKA": str(settings.kafka),
        "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
        "TOCSIN_KAFKA_SIGNAL_PARTITIONS": str(settings.kafka_signal_partitions),
        "TOCSIN_BUCKETS": str(settings.buckets),
        "TOCSIN_DATABASE_URL": "" if settings.database_url is None else settings.database_url.get_secret_value(),
        "TOCSIN_STREAMS": str(settings.streams),
    }


def tocsin(settings: Settings, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | environment_of(settings) | changes
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def status(settings: Settings) -> dict[str, object]:
    done = tocsin(settings, "status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_status_says_what_became_of_items_and_what_waits_for_whom(deployment: Deployment) -> None:
    deployment.apply()
    fine = {"text": "disk failed", "time": "2024-05-06T00:10:00Z", "id": "a"}
    deployment.send_items(CLOCK, [fine, fine, fine | {"id": "b", "time": "2024-05-06T00:00:00Z"}])
    deployment.send(CLOCK, [b"\xff broken"], [("form", b"json")])
    before = status(deployment.settings)
    assert (before["accepted"], before["waiting"], before["counted"]) == (4, 4, 0)
    with (
        running(ingest.run, deployment.context("ingest")),
        running(dispatch.run, deployment.context("dispatch")),
    ):
        wait_until(lambda: status(deployment.settings)["waiting"] == 0, "all items")
        wait_until(
            lambda: tocsin(deployment.settings, "dead-letters", "list", "--json").stdout != "", "the dead letter"
        )
    found = status(deployment.settings)
    sums = {name: found[name] for name in ("accepted", "counted", "late", "duplicates", "dead_letters", "waiting")}
    assert sums == {"accepted": 4, "counted": 1, "late": 1, "duplicates": 1, "dead_letters": 1, "waiting": 0}
    assert found["partitions"] == [{"partition": CLOCK, "watermark": "2024-05-06T00:10:00Z", **sums}]
    behind = found["behind"]
    assert isinstance(behind, dict)
    assert behind == {"ingest": 0, "score": behind["score"], "aggregate": 0, "dispatch": 0}
    assert behind["score"] > 0
    people = tocsin(deployment.settings, "status")
    assert f"behind: ingest 0, score {behind['score']}, aggregate 0, dispatch 0\n" in people.stdout
    assert not deployment.settings.data.exists()  # nothing on Kafka needs a data folder


def test_status_says_in_one_line_within_seconds_that_kafka_is_away(deployment: Deployment) -> None:
    away = deployment.settings.model_copy(update={"kafka": "127.0.0.1:1"})
    began_s = time.monotonic()
    done = tocsin(away, "status")
    assert done.returncode == 1
    assert "Kafka does not answer at 127.0.0.1:1 (" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - began_s < 30  # Python's own start on a busy machine included


def test_status_says_in_one_line_that_postgres_is_away(deployment: Deployment) -> None:
    done = tocsin(deployment.settings, "status", TOCSIN_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "Postgres does not answer" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_looks_at_the_cluster_and_its_topics(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(deployment.settings).items():
        monkeypatch.setenv(name, value)
    assert f"all 10 topics of {deployment.names.prefix}.* are as they must be" in checks._kafka()
    monkeypatch.setenv("TOCSIN_BUCKETS", "3")
    with pytest.raises(TocsinError, match=r"set TOCSIN_BUCKETS to 2, or .*; `tocsin topics check` shows all 4 diff"):
        checks._kafka()
    monkeypatch.setenv("TOCSIN_KAFKA", "127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match=r"does not answer at 127\.0\.0\.1:1 \(.*refused.*set TOCSIN_KAFKA"):
        checks._kafka()


def test_commands_around_alerts_use_the_shared_database_and_key(deployment: Deployment) -> None:
    settings = deployment.settings
    done = tocsin(settings, "subscribe", "https://hooks.example/")
    assert done.returncode == 1
    assert "TOCSIN_SECRET_KEY" in done.stderr
    key = {"TOCSIN_SECRET_KEY": new_key()}
    done = tocsin(settings, "subscribe", "https://hooks.example/", **key)
    assert done.returncode == 0, done.stderr
    for command in (["subscriptions", "list"], ["deliveries", "list"], ["dead-letters", "list"]):
        done = tocsin(settings, *command, **key)
        assert done.returncode == 0, done.stderr
    done = tocsin(settings, "alerts", "list", TOCSIN_DATABASE_URL="")
    assert done.returncode == 1
    assert "TOCSIN_DATABASE_URL" in done.stderr
    assert not settings.data.exists()
