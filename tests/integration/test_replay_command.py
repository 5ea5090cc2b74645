"""`tocsin replay`: the same bytes on every run, whatever the batches; wrong calls are one clear line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"
BGL = SHARED / "logs" / "bgl_first_day.csv.gz"


def tocsin(*arguments: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def replay(folder: Path, *arguments: str) -> tuple[bytes, str]:
    """Standard output and standard error of a replay with the null engine that works."""
    done = tocsin("replay", "--engine", "null", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, done.stderr.decode()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts of three regions over 150 weeks, with an outbreak in one and some broken rows."""
    draw = random.Random(3)
    path = tmp_path_factory.mktemp("replay") / "cases.csv"
    lines = ["week,REGION,ill,seen"]
    for week in range(150):
        day = (datetime(2020, 1, 6, tzinfo=UTC) + timedelta(weeks=week)).date()
        for region in ("north", "south", "west"):
            ill = draw.randrange(8, 16) + (60 if region == "south" and 120 <= week < 126 else 0)
            lines.append(f"{day},{region},{ill},{draw.randrange(900, 1100)}")
        if week % 50 == 7:
            lines.append(f"{day},south,jane.doe@example.org,3")
            lines.append(f"{day},south,9,3")
    path.write_text("\n".join(lines) + "\n")
    return path


COUNTED = (
    *("--stream", "health", "--time-column", "week", "--bad-column", "ill", "--total-column", "seen"),
    *("--column", "region=REGION", "--tick", "1w", "--as-of", "2024-01-01"),
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log lines of a day in which one host fails for a while; by the hash of the null engine."""
    from pipeline.scoring.null_engine import NullEngine

    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    scores = {word: engine.score(engine.encode([word], "logs"))[0].probability for word in words}
    bad, good = max(words, key=scores.__getitem__), min(words, key=scores.__getitem__)
    draw = random.Random(5)
    path = tmp_path_factory.mktemp("replay") / "lines.csv"
    rows = ["ts,message,host"]
    for second in range(0, 86_400, 40):
        at = datetime(2024, 5, 6, tzinfo=UTC) + timedelta(seconds=second)
        fails = 70_000 <= second < 73_000
        rows.append(f"{at.isoformat()},{bad if fails or draw.random() < 0.1 else good},h{second % 3}")
        if fails:
            rows += [f"{at.isoformat()},{bad},h1"] * 5
    path.write_text("\n".join(rows) + "\n")
    return path


TEXTS = (
    "--stream",
    "logs",
    "--time-column",
    "ts",
    "--text-column",
    "message",
    "--as-of",
    "2024-06-01",
    "--tick",
    "10m",
)


def test_the_same_file_gives_the_same_bytes_twice_and_in_any_batches(texts: Path) -> None:
    once, said = replay(texts.parent, str(texts), *TEXTS, "--json")
    assert b'"state":"opened"' in once
    for batch in ("1", "7", "1000"):
        again, _ = replay(texts.parent, str(texts), *TEXTS, "--json", "--batch", batch)
        assert again == once
    assert replay(texts.parent, str(texts), *TEXTS, "--json")[1].splitlines()[-1] == said.splitlines()[-1]


@pytest.mark.skipif(not BGL.exists(), reason=f"needs real logs in {BGL}")
def test_a_day_of_real_logs_gives_the_same_bytes_in_any_batches(tmp_path: Path) -> None:
    arguments = (str(BGL), "--stream", "logs", "--time-column", "ts", "--text-column", "EventTemplate", "--tick", "10m")
    outputs = {replay(tmp_path, *arguments, "--json", "--batch", batch)[0] for batch in ("7", "1000", "100000")}
    assert len(outputs) == 1


def test_rows_that_bring_counts_skip_the_classifier_and_find_the_outbreak(counted: Path) -> None:
    printed, said = replay(counted.parent, str(counted), *COUNTED, "--json")
    surges = [json.loads(line) for line in printed.splitlines()]
    opened = [one for one in surges if one["state"] == "opened"]
    assert "region:south" in {one["group"] for one in opened}
    assert "region:north" not in {one["group"] for one in opened}
    assert "456 items = 450 counted + 0 late + 0 duplicates + 6 dead letters" in said


def test_dead_letters_are_listed_masked(counted: Path) -> None:
    _, said = replay(counted.parent, str(counted), *COUNTED, "--dead")
    assert "jane.doe" not in said
    assert said.count("dead letter at") == 6
    assert "[email]" in said
    assert "more than 'total' 3" in said


def test_a_text_is_printed_for_people_without_json(counted: Path) -> None:
    printed, _ = replay(counted.parent, str(counted), *COUNTED)
    line = next(line for line in printed.decode().splitlines() if "region:south" in line)
    assert "opened" in line
    assert "expected" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("FILE", "--stream", "nope"), "there is no stream 'nope'; known: news, logs, health, indicators"),
        (("FILE",), "say --stream"),
        (("missing.csv", "--stream", "health"), "missing.csv"),
        ((".", "--stream", "health"), "not a regular file"),
        (("FILE", "--stream", "health", "--time-column", "weak"), "did you mean 'week'?"),
        (("FILE", "--stream", "health"), "no column"),
        (("FILE", "--stream", "health", "--tick", "soon"), 'write for example "5m"'),
        (("FILE", "--stream", "health", "--tick", "1ms"), 'at least "1s"'),
        (("FILE", "--stream", "health", "--column", "region"), "write FIELD=COLUMN"),
        (("FILE", "--stream", "health", "--threshold", "7"), "between 0 and 1"),
        (("FILE", "--stream", "health", "--count", "all"), '"share" or "number"'),
        (("FILE", "--stream", "health", "--as-of", "yesterday"), "--as-of"),
        (("FILE", "--stream", "health", "--batch", "0"), "--batch"),
        (("FILE", "--stream", "health", "--form", "xml"), "--form"),
        ((), "name files to replay"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_exit_code_2(counted: Path, arguments: tuple[str, ...], said: str) -> None:
    given = [str(counted) if one == "FILE" else one for one in arguments]
    done = tocsin("replay", "--engine", "null", *given, folder=counted.parent)
    assert done.returncode == 2
    assert done.stdout == b""
    error = done.stderr.decode()
    assert said in error
    assert "Traceback" not in error


def test_a_wrong_second_file_is_told_before_anything_is_printed(counted: Path, texts: Path) -> None:
    done = tocsin("replay", str(counted), str(texts), *COUNTED, "--engine", "null", folder=counted.parent)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "lines.csv has no column 'week'" in done.stderr.decode()


def test_hostile_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    rows = ["time,source,bad,total"]
    for hour in range(100):
        at = (datetime(2024, 5, 6, tzinfo=UTC) + timedelta(hours=hour)).isoformat()
        rows.append(f"{at},\x1b[2Jevil\x07,{900 if hour > 90 else 5},1000")
    (tmp_path / "evil.csv").write_text("\n".join(rows) + "\n")
    printed, _ = replay(tmp_path, "evil.csv", "--stream", "logs", "--as-of", "2024-06-01", "--tick", "1h")
    assert b"opened" in printed
    assert b"\x1b" not in printed
    assert b"\x07" not in printed


def test_two_files_of_one_name_are_two_clocks(texts: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lines.csv").write_bytes(texts.read_bytes())
    _, said = replay(tmp_path, "a/lines.csv", "b/lines.csv", *TEXTS)
    _, single = replay(tmp_path, "a/lines.csv", *TEXTS)
    assert int(said.split(" items =")[0].splitlines()[-1].replace(",", "")) == 2 * int(
        single.split(" items =")[0].splitlines()[-1].replace(",", "")
    )
