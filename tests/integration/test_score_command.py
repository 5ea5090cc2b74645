"""`tocsin score`: a line out for a line in, whatever comes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def score(tmp_path: Path) -> Run:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])

    def tocsin(*arguments: str, input: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        chosen = () if "--engine" in arguments else ("--engine", "null")
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "score", *arguments, *chosen],
            input=input,
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=environment,
            timeout=120,
        )
        assert done.returncode == code, (done.stdout[-2000:], done.stderr[-2000:])
        assert b"Traceback" not in done.stderr
        return done

    return tocsin


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_line_has_its_answer_in_order(score: Run) -> None:
    lines = [json.dumps({"id": n, "text": f"text {'x' * (n % 50)}"}) for n in range(9000)]
    found = objects(score(input="\n".join(lines).encode()))
    assert [one["id"] for one in found] == list(range(9000))
    assert list(found[0]) == ["id", "bad", "label", "topic", "model"]
    assert found[0] | {"id": 50} == found[50]


def test_bad_input_is_answered_in_its_place_and_said_at_the_end(score: Run, tmp_path: Path) -> None:
    lines = [
        b'{"id":1,"text":"bank fails"}',
        b"broken",
        b'{"id":3,"text":"\xff"}',
        b'{"id":4}',
        b'{"id":5,"text":7}',
        b'{"id":6,"text":""}',
        b'{"id":7,"text":"\\ud800"}',
        '{"id":8,"text":"😀"}'.encode(),
        b'{"id":9,"text":"' + b"word " * 2_000_000 + b'"}',
        b'{"id":10,"text":"' + b"word " * 8_000_000 + b'"}',
        b'{"id":11,"text":"link restored"}',
    ]
    done = score(input=b"\n".join(lines), code=1)
    found = objects(done)
    assert [one["id"] for one in found] == [1, None, 3, 4, 5, 6, 7, 8, 9, None, 11]
    assert [one["error"].partition(":")[0] for one in found if "error" in one] == [
        f"line {n}" for n in (2, 3, 4, 5, 10)
    ]
    flags = [["empty"], ["no_words", "replaced"], ["no_words"], ["cut"]]
    assert [one["flags"] for one in found if "flags" in one] == flags
    assert [one["id"] for one in found if "bad" in one] == [1, 6, 7, 8, 9, 11]
    said = done.stderr.decode().splitlines()[-1]
    assert said.startswith('tocsin: 5 of 11 texts could not be read; each has its "error" in its place')
    assert "line 2: not JSON" in said


def test_where_no_line_could_be_read_the_other_forms_are_named(score: Run) -> None:
    done = score(input=b"headline\nShares plunge\n", code=1)
    assert "2 of 2 texts" in done.stderr.decode()
    assert "--form csv reads a table, --form line plain lines" in done.stderr.decode()


def test_halves_of_surrogate_pairs_stop_no_explanation_and_no_error(score: Run) -> None:
    lines = [
        {"id": 1, "text": "bank fails"},
        {"id": 2, "text": " \ud83d ".join(f"w{n}" for n in range(130))},
        {"id": 3, "\ud83d": "no text"},
    ]
    found = objects(score("--explain", input="\n".join(map(json.dumps, lines)).encode(), code=1))
    assert [one["id"] for one in found] == [1, 2, 3]
    assert [" ? " in part["word"] for part in found[1]["why"]] == [True] * 5
    assert found[2]["error"] == 'line 3: there is no "text"; the object has "id", "?"'


def test_several_files_are_read_in_turn_and_named_in_errors(score: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id,text\n1,bank fails\n"))
    (tmp_path / "b.jsonl").write_bytes(b'{"id":2,"text":"x"}\nbroken\n')
    found = objects(score("a.csv.gz", "b.jsonl", "-", input=b'{"id":3,"text":"y"}', code=1))
    assert [one["id"] for one in found] == ["1", 2, None, 3]  # cells are texts
    assert found[2]["error"].startswith("b.jsonl, line 2: not JSON")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["t.csv"], "t.csv has no column 'text' for text; it has 'id', 'title'"),
        (["t.csv", "--text-column", "titel"], "did you mean 'title'"),
        (["t.csv", "--text-column", "title", "--kind-column", "type"], "no column 'type' for kind"),
        (["missing.csv"], "there is no file missing.csv"),
        (["."], "is a folder"),
        (["t.csv", "--text-column", ""], "a column needs a name"),
        (["t.csv", "--text-column", "id"], "must come from different columns"),
        (["good.jsonl", "t.csv"], "t.csv has no column 'text'"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_scored(
    score: Run, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "t.csv").write_text("id,title\n1,bank fails\n")
    (tmp_path / "good.jsonl").write_text('{"text":"a"}\n')
    done = score(*arguments, code=2)
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert says in line


def test_columns_and_a_forced_kind_are_used(score: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("url;title;kind\nu1;disk 1 failed;machine down\nu2;disk 2 failed;x\n")
    found = objects(score("t.csv", "--text-column", "title", "--id-column", "url", "--kind", "logs"))
    assert [one["id"] for one in found] == ["u1", "u2"]
    assert found[0]["bad"] == found[1]["bad"]  # one template


def test_a_file_that_is_cut_gives_what_is_there_and_fails(score: Run, tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b'{"id":%d,"text":"%032x"}\n' % (n, n * 7919**9) for n in range(20_000)))
    (tmp_path / "x.gz").write_bytes(packed[: len(packed) // 2])
    done = score("x.gz", code=1)
    assert len(objects(done)) > 1000
    assert "x.gz: the gzip file is cut off in the middle" in done.stderr.decode()


def test_a_closed_standard_input_is_said_in_one_line(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m pipeline.cli score --engine null <&-"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"tocsin: cannot open standard input: Bad file descriptor")


def test_nothing_in_is_nothing_out(score: Run) -> None:
    done = score()
    assert done.stdout == b""


def test_the_same_file_gives_the_same_bytes_however_it_arrives(score: Run, tmp_path: Path) -> None:
    lines = b"".join(b'{"id":%d,"text":"%x"}\n' % (n, n * 7919) for n in range(10_000))
    (tmp_path / "x").write_bytes(lines)
    (tmp_path / "x.gz").write_bytes(gzip.compress(lines))
    assert score("x").stdout == score("x.gz").stdout == score(input=lines).stdout


def test_control_characters_reach_no_terminal(score: Run) -> None:
    done = score(input='{"id":"\u009b2J\u202e","text":"a"}'.encode())
    assert "\u009b" not in done.stdout.decode()
    assert objects(done)[0]["id"] == "\u009b2J\u202e"


def test_the_shipped_classifier_scores_and_explains(score: Run) -> None:
    lines = [
        {"id": "a", "text": "Bank posts a huge loss and cuts 3,000 jobs"},
        {"id": "b", "text": "2024-05-06 10:00:00 INFO job 17 completed successfully"},
        {"id": "c", "text": ""},
    ]
    found = objects(
        score("--engine", "auto", "--explain", input="\n".join(json.dumps(line) for line in lines).encode())
    )
    assert [(one["label"], one["topic"]) for one in found[:2]] == [("bad", "finance"), ("ok", "infrastructure")]
    assert found[0]["why"][0]["adds"] > 0
    assert found[0]["why"][0]["word"] in lines[0]["text"]
    assert found[2]["why"] == []


def test_an_input_without_texts_is_said_to_have_none(score: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "head.csv").write_text("id,text\n")
    (tmp_path / "one.jsonl").write_text('{"text": "bank fails"}\n')
    for name in ("empty.jsonl", "head.csv", "/dev/null"):
        done = score(name)
        assert (done.stdout, done.stderr) == (b"", f"no texts in {name}\n".encode())
    assert score().stderr == b"no texts in standard input\n"
    done = score("empty.jsonl", "one.jsonl")
    assert len(objects(done)) == 1
    assert done.stderr.count(b"no texts in") == 1
