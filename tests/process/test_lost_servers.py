"""Postgres killed or hanging, Valkey killed and flushed, the disk full, while items are pushed: it only delays."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from upper import (
    SEED,
    Upper,
    oracle,
    push,
    push_all,
    pushes,
    reachable,
    transitions_of_a_straight_run,
    wait_until,
)

from pipeline.detect.digest import digest

MINUTES = 120
HANGS_S = 10.0


class Load:
    """Pushes two hours of lines in the background; `answered` counts what was accepted, by push."""

    def __init__(self, up: Upper, pace_s: float) -> None:
        self.up = up
        draw = random.Random(SEED)
        self.made = pushes(draw, MINUTES)
        self.answered: dict[str, int] = {}
        self._thread = threading.Thread(
            target=push_all, args=(up.url, self.made, draw, pace_s, self.answered), daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def check(self) -> None:
        """Everything was accepted and ended in one of four, once; the surges are those of a straight run."""
        self._thread.join(timeout=120)
        assert not self.running
        status = self.up.finish(MINUTES)
        expected = oracle(self.made)
        assert {fate: status[fate] for fate in expected} == dict(expected)
        assert status["accepted"] == sum(self.answered.values()) == sum(expected.values())
        letters = self.up.command("dead-letters", "list", "--limit", "10000", "--json").splitlines()
        assert len(letters) == expected["dead_letters"]
        stored, _ = self.up.stored()
        straight = transitions_of_a_straight_run(self.up.data)
        assert {t.state for t in straight} >= {"opened", "resolved"}
        assert len(stored) == len(straight)
        assert digest(stored) == digest(straight)


@pytest.fixture
def load(up: Upper) -> Load:
    up.start()
    wait_until(lambda: reachable(up.url))
    return Load(up, pace_s=0.1)


def test_postgres_killed_three_times_only_delays(up: Upper, load: Load) -> None:
    load.start()
    for pushed in (20, 41, 70):  # the second while a burst becomes a surge
        wait_until(lambda pushed=pushed: len(load.answered) >= pushed)
        assert load.running
        kill(up, "postgres")
    load.check()
    assert b"server_died" in (up.folder / "up.log").read_bytes()


def test_postgres_that_hangs_holds_up_no_push(up: Upper, load: Load) -> None:
    load.start()
    wait_until(lambda: up.status()["counted"] > 0)
    stopped = up.servers("postgres")
    assert stopped
    for process in stopped:
        process.suspend()
    try:
        before = len(load.answered)
        began = time.monotonic()
        wait_until(lambda: len(load.answered) >= before + 20 or not load.running)
        assert len(load.answered) > before  # accepted while the database hung
        time.sleep(max(0.0, HANGS_S - (time.monotonic() - began)))  # the length of the outage
    finally:
        for process in stopped:
            process.resume()
    load.check()


def test_valkey_flushed_and_killed_costs_nothing_but_speed(up: Upper, load: Load) -> None:
    load.start()
    wait_until(lambda: up.status()["counted"] > 0)
    folder = up.data / "valkey"
    password = (folder / "password").read_text().strip()
    with redis.Redis(port=int((folder / "port").read_text()), password=password) as client:
        assert client.dbsize()
        client.flushall()
    kill(up, "valkey-server")
    assert load.running
    load.check()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    options = f"size={megabytes}m,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs a small disk of its own, and a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_answered_503_and_nothing_is_lost_once_there_is_room(up: Upper) -> None:
    with small_disk(up.data, 400):
        up.start()
        wait_until(lambda: reachable(up.url))
        load = Load(up, pace_s=0.02)
        filler = up.data / "filler"
        with httpx.Client(base_url=up.url, timeout=20, trust_env=False) as client:
            with filler.open("wb") as file:
                fill(file.fileno())
            # In the order of the load and with its keys, so that what still fits counts once.
            answers = (push(client, items, f"push-{n}") for n, items in enumerate(load.made))
            refused = next(answer for answer in answers if answer.status_code != 202)
        assert refused.status_code == 503
        assert "the disk is full" in refused.json()["detail"]
        assert refused.headers["retry-after"]
        load.start()
        filler.unlink()
        load.check()
        up.end()


def fill(fd: int) -> None:
    """Write until nothing more fits."""
    for size in (2**20, 2**12, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except OSError:
            continue


def kill(up: Upper, program: str) -> None:
    """Kill a server and wait until the keeper has started it again."""
    killed = set(up.servers(program))
    assert killed
    for process in killed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass  # it ended with its parent
    wait_until(lambda: bool(set(up.servers(program)) - killed))
