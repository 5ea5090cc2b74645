"""A `tocsin up` in a process of its own that tests kill, starve and start again, and a load with its oracle."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import select

from alerts import tables
from alerts.store import create_engine, transaction
from pipeline import streams
from pipeline.flow import StreamFlow
from pipeline.journal.journal import Journal
from pipeline.records import Transition, decode
from pipeline.runtime.pipeline import fold_records
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.servers.postgres import local_postgres

SEED = int(os.environ.get("TOCSIN_TEST_SEED", "7"))
START = datetime(2024, 5, 6, tzinfo=UTC)
PARTITION = "logs/push"
STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
lateness = "2m"
clock = "data"
group = ["source"]
member = ["host"]
overall = false
[[streams.logs.sources]]
kind = "push"
"""


def texts() -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    scores = {word: engine.score(engine.encode([word], "logs"))[0].probability for word in words}
    return max(words, key=lambda w: scores[w]), min(words, key=lambda w: scores[w])


def pushes(draw: random.Random, minutes: int) -> list[list[bytes]]:
    """Lines in small pushes, one a minute: bursts, some items late, some with an id seen before, some broken."""
    bad, good = texts()
    made: list[list[bytes]] = []
    ids = 0
    for minute in range(minutes):
        burst = minute % 60 in (40, 41, 42)
        items: list[bytes] = []
        for i in range(30 if burst else 6):
            at = START + timedelta(minutes=minute, seconds=i)
            if draw.random() < 0.05:
                at -= timedelta(minutes=10)  # late
            text = bad if burst or draw.random() < 0.1 else good
            ids += 1
            id = ids if draw.random() > 0.05 else max(1, ids - 9)  # one in twenty was seen before
            item = {"id": f"i{id}", "time": at.isoformat(), "text": text, "source": "web", "host": f"h{i % 4}"}
            payload = json.dumps(item).encode()
            items.append(payload[:-9] if draw.random() < 0.03 else payload)
        made.append(items)
    return made


class Upper:
    """A `tocsin up` that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "streams.toml").write_text(STREAMS)
        self.environment = {
            **os.environ,
            "TOCSIN_DATA": str(self.data),
            "TOCSIN_STREAMS": str(folder / "streams.toml"),
            "TOCSIN_ENGINE": "null",
            "TOCSIN_PORT": str(self.port),
            "TOCSIN_EGRESS_ALLOW": '["127.0.0.1"]',
            "TOCSIN_EGRESS_HTTP": "true",
            "TOCSIN_CHECKPOINT_S": "0.2",
        }
        self.log = open(folder / "up.log", "ab")  # noqa: SIM115  lives as long as the test
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments], env=self.environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def status(self) -> dict[str, Any]:
        return json.loads(self.command("status", "--json"))  # type: ignore[no-any-return]

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "up"], env=self.environment, stdout=self.log, stderr=self.log
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def servers(self, program: str) -> list[psutil.Process]:
        """The processes of a server of its own ("postgres", "valkey-server")."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == program and Path(process.cwd()).is_relative_to(self.data):
                    found.append(process)
            except (psutil.Error, OSError):
                continue  # it ended meanwhile
        return found

    def end(self) -> None:
        """Leave no process behind, whatever the test met."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for process in (*self.servers("postgres"), *self.servers("valkey-server")):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.log.close()

    def finish(self, minutes: int) -> dict[str, Any]:
        """Say that nothing more comes, wait until all is folded, and stop; the last status."""
        heartbeat(self.url, minutes)
        wait_until(lambda: self.status()["waiting"] == 0)
        # The heartbeat is no item: what it closes is stored when the process stops.
        status = self.status()
        assert self.stop() == 0
        return status

    def stored(self) -> tuple[list[Transition], list[Any]]:
        """Every transition and every delivery in the database."""
        with local_postgres(self.data / "postgres") as url:
            engine = create_engine(url)
            with transaction(engine) as connection:
                rows = connection.execute(select(tables.transitions.c.encoded)).all()
                deliveries = connection.execute(select(tables.deliveries)).all()
            engine.dispose()
        return [decode(bytes(row.encoded), Transition) for row in rows], list(deliveries)


def heartbeat(url: str, minutes: int) -> None:
    """Say that the load of so many minutes is over: its last ticks close."""
    end = (START + timedelta(minutes=minutes + 2)).isoformat()
    httpx.post(f"{url}/v1/heartbeats", json={"stream": "logs", "time": end}).raise_for_status()


def push_all(url: str, made: list[list[bytes]], draw: random.Random, pace_s: float, answered: dict[str, int]) -> None:
    """Push everything, each with its key until it got its 202, some of them twice."""
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        for n, items in enumerate(made):
            for _ in range(2 if draw.random() < 0.1 else 1):
                answered[f"push-{n}"] = until_accepted(client, items, f"push-{n}")
            time.sleep(pace_s)  # the rate of the load, not a wait


def until_accepted(client: httpx.Client, items: list[bytes], key: str) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            answer = push(client, items, key)
        except httpx.TransportError:
            time.sleep(0.05)  # it was killed: ask again until the next one answers
            continue
        if answer.status_code == 202:
            return int(answer.json()["accepted"])
        assert answer.status_code in (429, 503), answer.text
        time.sleep(0.05)
    raise AssertionError("the push API did not come back")


def push(client: httpx.Client, items: list[bytes], key: str) -> httpx.Response:
    return client.post(
        "/v1/items?stream=logs",
        content=b"\n".join(items),
        headers={"content-type": "application/x-ndjson", "idempotency-key": key},
    )


def wait_until(condition: object, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def oracle(made: list[list[bytes]]) -> Counter[str]:
    """What becomes of the items, by a plain loop that shares no code with the folds."""
    fates: Counter[str] = Counter()
    watermark: datetime | None = None
    seen: set[str] = set()
    for payload in (item for items in made for item in items):
        try:
            item = json.loads(payload)
        except ValueError:
            fates["dead_letters"] += 1
            continue
        if item["id"] in seen:
            fates["duplicates"] += 1
            continue
        seen.add(item["id"])
        when = datetime.fromisoformat(item["time"])
        ends = when.replace(second=0) + timedelta(minutes=1)
        if watermark is not None and ends + timedelta(minutes=2) <= watermark:
            fates["late"] += 1
            continue
        watermark = when if watermark is None else max(watermark, when)
        fates["counted"] += 1
    return fates


def transitions_of_a_straight_run(folder: Path) -> list[Transition]:
    """The folds over the journal, once, without any interruption."""
    journal = Journal(folder / "journal", PARTITION)
    records = journal.read(0, 10**9)
    journal.close()
    definition = streams.from_note(records[0].note).definition
    flow = StreamFlow(definition, run="live", buckets=1)
    scorer = Scorer(NullEngine(), cache_entries=1000, batch_tokens=1000)
    return fold_records(flow, scorer, PARTITION, records)[1]


def reachable(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def delivered(up: Upper) -> bool:
    sent = up.status()["deliveries"]
    return bool(sent) and set(sent) == {"delivered"}
