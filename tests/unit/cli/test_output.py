"""What commands print: hostile text is shown, not obeyed, and JSON stays JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import logs
from pipeline.cli.output import print_json, say, show, visible
from pipeline.cli.table import print_table

HOSTILE = "\x1b[2Jx\x07 \x9b31m\x85 \u2028 \u202e \r\ny"
SHOWN = r"\x1b[2Jx\x07 \x9b31m\x85 \u2028 \u202e \r\ny"


def test_hostile_text_is_shown_wherever_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    show(HOSTILE)
    say(HOSTILE)
    print_table(("head",), [[HOSTILE], [None]])
    out, err = capsys.readouterr()
    assert (out, err) == (f"{SHOWN}\nhead\n{SHOWN}\n\n", f"{SHOWN}\n")


@given(st.text())
def test_what_is_visible_is_printable_and_plain_text_stays_as_it_is(text: str) -> None:
    assert visible(text).isprintable()
    assert not text.isprintable() or visible(text) == text


def test_json_holds_no_character_that_a_terminal_obeys_and_reads_back_the_same(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    given = {"text": HOSTILE + "\x7f é \U0001f600"}
    print_json(given)
    line = capfdbinary.readouterr().out
    assert line.endswith(b"\n")
    assert all(c.isprintable() for c in line.decode().rstrip("\n"))
    assert "é \U0001f600" in line.decode()
    assert json.loads(line) == given


def test_a_log_for_people_shows_hostile_values(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level=0, as_json=False)
    structlog.get_logger().warning("file_refused", file="\x1b[2J\x9b31m")
    line = capsys.readouterr().err.rstrip("\n")
    assert "file_refused" in line
    assert line.isprintable()


def run(*arguments: str | bytes, cwd: Path) -> tuple[int, str, str]:
    """A command in a process of its own: exit code, standard output, standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    command: list[str | bytes] = [sys.executable, "-m", "pipeline.cli", *arguments]
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_name_that_is_not_utf_8_is_a_usage_error(tmp_path: Path) -> None:
    code, out, err = run("replay", b"inv\xff.jsonl", "--stream", "logs", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert r"inv\udcff.jsonl is not UTF-8" in err
    assert err.count("\n") == 1


def test_a_hostile_path_in_an_error_is_shown(tmp_path: Path) -> None:
    code, _, err = run("replay", "\x1b[31m\x9bred.jsonl", "--stream", "logs", "--engine", "null", cwd=tmp_path)
    assert code == 2
    assert r"\x1b[31m\x9bred.jsonl" in err
    assert all(line.isprintable() for line in err.splitlines())


def into(out: str, *arguments: str, cwd: Path, first: str = "", **more: str) -> tuple[int, str]:
    """A command whose standard output goes where a shell says: exit code, standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")} | more
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = ["sh", "-c", f'{first}"$@" {out}', "sh", sys.executable, "-m", "pipeline.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_answers_that_find_no_room_are_an_error_also_without_a_buffer(tmp_path: Path, unbuffered: str) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "bank fails"}\n' * 1000)
    command = ("score", "--engine", "null", "texts.jsonl")
    code, err = into("> answers", *command, cwd=tmp_path, first="ulimit -f 8; ", PYTHONUNBUFFERED=unbuffered)
    assert code == 1
    assert err.splitlines()[-1] == "tocsin: cannot write to standard output: File too large"
    assert "Traceback" not in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("out", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")], ids=["full", "closed"]
)
@pytest.mark.parametrize("arguments", [("score", "--help"), ("score", "--engine", "null", "one.jsonl")], ids=" ".join)
def test_standard_output_that_takes_nothing_is_one_line_and_exit_code_1(
    tmp_path: Path, arguments: tuple[str, ...], out: str, why: str, unbuffered: str
) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": "bank fails"}\n')
    code, err = into(out, *arguments, cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    said = [line for line in err.splitlines() if not line.startswith("engine null")]
    assert (code, said) == (1, [f"tocsin: cannot write to standard output: {why}"])


def test_a_reader_that_has_had_enough_is_not_complained_of(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "bank fails"}\n' * 20_000)
    _, err = into("| head -1 > first", "score", "--engine", "null", "texts.jsonl", cwd=tmp_path)
    assert [line for line in err.splitlines() if not line.startswith("engine null")] == []
    assert (tmp_path / "first").read_bytes().count(b"\n") == 1


def test_with_standard_error_closed_only_answers_are_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": "bank fails"}\n')
    code, _ = into("2>&- > answers", "score", "--engine", "null", "one.jsonl", cwd=tmp_path)
    assert code == 0
    assert (tmp_path / "answers").read_bytes().count(b"\n") == 1
