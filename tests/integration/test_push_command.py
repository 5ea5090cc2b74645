"""`tocsin push` into a running `tocsin up`: whatever a file holds, over HTTP, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from live import Live

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
lateness = "1m"
clock = "data"
group = ["source"]
member = ["host"]
columns = { text = "message" }
[[streams.logs.sources]]
kind = "push"
"""

Push = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> Live:
    (tmp_path / "streams.toml").write_text(STREAMS)
    return Live(tmp_path, database_url, STREAMS)


def push(live: Live, *arguments: str, status: int = 0, url: str = "") -> subprocess.CompletedProcess[str]:
    assert live.runtime is not None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "push", *arguments, "--url", url or live.runtime.url],
        cwd=live.folder,
        env=environment
        | {"TOCSIN_STREAMS": str(live.folder / "streams.toml"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def test_json_lines_rows_and_log_lines_are_counted_and_broken_ones_are_dead_letters(live: Live) -> None:
    at = "2026-01-01T00:00:{:02}Z"
    lines = [json.dumps({"time": at.format(n), "message": f"m{n}", "host": "h1"}) for n in range(5)]
    (live.folder / "a.jsonl").write_text("\n".join([*lines, "{broken"]))
    (live.folder / "b.csv").write_text("".join(["when,what,host\n", f"{at.format(6)},a,h1\n", "torn\n"]))
    (live.folder / "c.log").write_text(f"{at.format(7)} it is down\n")
    with live.up():
        push(live, "a.jsonl", "--stream", "logs")
        push(live, "b.csv", "--stream", "logs", "--time-column", "when", "--text-column", "what")
        said = json.loads(push(live, "c.log", "--stream", "logs", "--end", "--json").stdout)
        live.folded()
    assert said["heartbeat"] == "2026-01-01T00:02:00Z"
    assert live.counts() == {"accepted": 9, "counted": 7, "late": 0, "duplicates": 0, "dead": 2}


def test_a_file_that_is_pushed_again_stores_nothing_and_one_that_has_grown_counts_what_is_new(live: Live) -> None:
    path = live.folder / "app.log"
    path.write_text("".join(f"2026-01-01T00:00:{n:02}Z line\n" for n in range(20)))
    with live.up():
        push(live, "app.log", "--stream", "logs")
        again = json.loads(push(live, "app.log", "--stream", "logs", "--json").stdout)
        assert (again["items"], again["repeated"]) == (20, 20)
        path.write_text(path.read_text() + "2026-01-01T00:00:30Z line\n" * 5)
        push(live, "app.log", "--stream", "logs")
        live.folded()
    assert live.counts() == {"accepted": 45, "counted": 25, "late": 0, "duplicates": 20, "dead": 0}


def test_a_refusal_says_what_the_server_says(live: Live) -> None:
    (live.folder / "app.log").write_text("a\n")
    (live.folder / "other.toml").write_text(STREAMS.replace("streams.logs", "streams.web"))
    with live.up():
        done = push(live, "app.log", "--stream", "web", "--streams", "other.toml", status=1)
        assert "no stream 'web'" in done.stderr
        assert "0 items are stored; the same command goes on with --skip 0" in done.stderr
        nobody = push(live, "app.log", "--stream", "logs", status=1, url="http://127.0.0.1:1")
        assert "start `tocsin up`" in nobody.stderr
