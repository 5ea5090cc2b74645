"""`tocsin push` into Kafka: a file's items in the raw topic of a push source, once however often it is pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deployed import STREAMS, Deployment

from pipeline.ingest.fold import IngestFold
from pipeline.records import RawRecord
from pipeline.settings import Settings
from pipeline.streams import Turn

Push = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def deployment(kafka_settings: Settings) -> Deployment:
    return Deployment(kafka_settings.model_copy(update={"kafka_raw_partitions": 2}))


@pytest.fixture
def push(deployment: Deployment, tmp_path: Path) -> Push:
    (tmp_path / "streams.toml").write_text(STREAMS)
    settings = deployment.settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")} | {
        "TOCSIN_KAFKA": str(settings.kafka),
        "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
        "TOCSIN_KAFKA_RAW_PARTITIONS": "2",
        "TOCSIN_STREAMS": str(tmp_path / "streams.toml"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def run(*arguments: str, status: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "push", *arguments],
            cwd=tmp_path,
            env=environment | changes,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    return run


def records(deployment: Deployment) -> list[RawRecord]:
    found = [r for number in range(2) for r in deployment.raw(f"logs/push/{number}")]
    return [r for r in found if r.kind == "items"]


def items_of(deployment: Deployment) -> list[tuple[str, str, bytes]]:
    return [(r.source, r.form, payload) for r in records(deployment) for payload in r.payloads]


def fates(deployment: Deployment) -> tuple[int, int, int]:
    """Items counted, late and taken for duplicates, over all partitions."""
    counted = late = duplicates = 0
    for number in range(2):
        definition = deployment.names.defined(deployment.file.streams["logs"])
        fold = IngestFold(Turn(1, definition), f"logs/push/{number}")
        fold.apply(deployment.raw(f"logs/push/{number}"))
        counted, late = counted + fold.counts.counted, late + fold.counts.late
        duplicates += fold.counts.duplicates
    return counted, late, duplicates


def write_lines(path: Path, count: int, first: int = 0) -> None:
    with path.open("a") as file:
        for n in range(first, first + count):
            at = f"2026-01-01T{n // 60:02}:{n % 60:02}:00Z"
            file.write(json.dumps({"time": at, "text": f"line {n}", "host": "h1"}) + "\n")


def test_a_file_is_there_in_its_order_with_an_id_each(deployment: Deployment, push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "day.jsonl", 50)
    said = json.loads(push("day.jsonl", "--stream", "logs", "--json").stdout)
    lines = (tmp_path / "day.jsonl").read_bytes().splitlines()
    assert items_of(deployment) == [("day.jsonl", "json", line) for line in lines]
    ids = [id for record in records(deployment) for id in record.ids or []]
    assert len(set(ids)) == 50
    assert (said["items"], said["skipped"], said["to"]) == (50, 0, f"the topic {deployment.names.raw('logs', 'push')}")


def test_a_file_that_is_pushed_again_when_it_has_grown_counts_what_is_new(
    deployment: Deployment, push: Push, tmp_path: Path
) -> None:
    write_lines(tmp_path / "day.jsonl", 30)
    push("day.jsonl", "--stream", "logs")
    write_lines(tmp_path / "day.jsonl", 20, first=30)
    push("day.jsonl", "--stream", "logs")
    assert fates(deployment) == (50, 0, 30)


def test_all_is_taken_in_again_when_one_says_so(deployment: Deployment, push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "day.jsonl", 3)
    for _ in range(2):
        push("day.jsonl", "--stream", "logs", "--again")
    counted, late, duplicates = fates(deployment)
    assert (counted + late, duplicates) == (6, 0)


def test_rows_of_a_table_have_the_fields_that_the_columns_say(
    deployment: Deployment, push: Push, tmp_path: Path
) -> None:
    (tmp_path / "cases.csv").write_text("when,what,machine\n2026-01-01,a,h1\ntorn\n2026-01-02,b,h2\n")
    options = ("--time-column", "when", "--text-column", "what", "--column", "host=machine", "--source", "ward 7")
    push("cases.csv", "--stream", "logs", *options, "--end")
    found = items_of(deployment)
    assert [(source, form) for source, form, _ in found] == [("ward 7", "row"), ("ward 7", "broken"), ("ward 7", "row")]
    assert json.loads(found[0][2]) == {"time": "2026-01-01", "text": "a", "host": "h1"}


def test_the_end_is_told_to_every_clock_of_the_source(deployment: Deployment, push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "day.jsonl", 5)
    said = push("day.jsonl", "--stream", "logs", "--end").stderr
    beats = [[r.time_us for r in deployment.raw(f"logs/push/{n}") if r.kind == "heartbeat"] for n in range(2)]
    closed_us = 1_767_225_600_000_000 + (5 + 1) * 60_000_000  # the tick of the last line has ended, lateness included
    assert beats == [[closed_us], [closed_us]]
    assert "nothing before 2026-01-01T00:06:00Z" in said


def test_at_a_speed_items_take_their_time(deployment: Deployment, push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "day.jsonl", 4)  # three minutes
    began = time.monotonic()
    push("day.jsonl", "--stream", "logs", "--speed", "180x")
    assert time.monotonic() - began > 1
    assert fates(deployment) == (4, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("day.jsonl", "--stream", "lgos"), 2, "known: logs"),
        (("day.jsonl",), 2, "say --stream"),
        (("day.jsonl", "--stream", "logs", "--into", "wire"), 2, "push sources: push"),
        (("none.jsonl", "--stream", "logs"), 2, "cannot open"),
        (("day.jsonl", "--stream", "logs", "--text-column", "x"), 2, "no table"),
        (("day.jsonl", "--stream", "logs", "--column", "x"), 2, "FIELD=COLUMN"),
        (("day.jsonl", "--stream", "logs", "--rate", "5", "--speed", "2x"), 2, "do not go together"),
        (("day.jsonl", "--stream", "logs", "--speed", "fast"), 2, "60x"),
        (("day.jsonl", "--stream", "logs", "--rate", "0"), 2, "above 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    deployment: Deployment, push: Push, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    write_lines(tmp_path / "day.jsonl", 3)
    assert said in push(*arguments, status=status).stderr
    assert items_of(deployment) == []


def test_a_missing_topic_and_a_broker_that_is_away_are_told_with_what_to_do(push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "day.jsonl", 3)
    arguments = ("day.jsonl", "--stream", "logs")
    assert "tocsin topics create" in push(*arguments, status=1, TOCSIN_KAFKA_PREFIX="nobody-made-it").stderr
    assert "look at TOCSIN_KAFKA" in push(*arguments, status=1, TOCSIN_KAFKA="127.0.0.1:1").stderr


def test_what_is_skipped_is_counted_over_all_files(deployment: Deployment, push: Push, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", 10)
    (tmp_path / "b.csv").write_text("text\n" + "a\n" * 10)
    (tmp_path / "c.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")  # cut off in the middle: one broken item
    said = push("a.jsonl", "b.csv", "c.jsonl.gz", "--stream", "logs", "--skip", "15", "--json").stdout
    assert json.loads(said)["items"] == 6
    assert {source for source, _, _ in items_of(deployment)} == {"b.csv", "c.jsonl"}
