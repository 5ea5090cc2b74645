"""Bad input through the real thing: each ends in a dead letter or in a clear error, and all else counts."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path

import pytest
from live import Live, until

from alerts import tables
from pipeline.errors import SourceError
from pipeline.ingest.state import Counts
from pipeline.instants import DAY_US
from pipeline.records import DeadLetter
from pipeline.runtime.replay import FileReplay
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.scorer import Scorer
from pipeline.streams import Definition, FileForm

NOW_US = 20_000 * DAY_US  # 2024-10-04
GOOD = b'{"time":"2024-10-03T10:00:00Z","text":"all fine","source":"web"}'


def item(**fields: object) -> bytes:
    return json.dumps({"time": "2024-10-03T10:00:00Z", "text": "x", "source": "web"} | fields).encode()


#: Bad items, and a part of the reason that people are given.
BAD = {
    "not UTF-8": (b'{"time":"2024-10-03T10:00:00Z","text":"\xff\xfe"}', "invalid start byte"),
    "broken JSON": (b'{"text": "x"', "truncated"),
    "no JSON": (b"<xml/>", "malformed"),
    "no object": (b"[1,2]", "Expected `object`"),
    "no time": (b'{"text":"x"}', "no time"),
    "year 1": (item(time="0001-01-01T00:00:00Z"), "outside the years"),
    "year 9999": (item(time="9999-12-31T23:59:59Z"), "outside the years"),
    "the future": (item(time="2199-01-01T00:00:00Z"), "in the future"),
    "NaN": (b'{"time":"2024-10-03T10:00:00Z","bad":NaN,"total":3}', "malformed"),
    "infinite": (b'{"time":"2024-10-03T10:00:00Z","bad":1e999,"total":3}', "out of range"),
    "negative": (item(bad=-1, total=3), "outside 0 to"),
    "bad > total": (item(bad=4, total=3), "more than 'total'"),
    "a lone surrogate": (b'{"time":"2024-10-03T10:00:00Z","text":"\\ud800 x"}', "not a JSON object"),
    "deep nesting": (
        b'{"time":"2024-10-03T10:00:00Z","text":"x","y":' + b"[" * 9000 + b"]" * 9000 + b"}",
        "nested deeper",
    ),
    "deeper than it ends": (b'{"y":' + b"[" * 90_000, "nested deeper"),
    "no text": (item(text="  "), "the text is empty"),
    "a NUL byte in JSON": (b'{"time":"2024-10-03T10:00:00Z","text":"a\x00b"}', "malformed"),
}
#: Odd items that are fine.
ODD = [item(text="a\x00b"), item(text="\U0001f4a9" * 100), item(source="\x1b[31m", host="a,b\nc"), item(id=10**30)]
LINES = [line for bad, _ in BAD.values() for line in (bad, GOOD)] + ODD


def replayed(
    *paths: Path, form: FileForm = "auto", batch: int = 100, **changes: object
) -> tuple[Counts, list[DeadLetter]]:
    settings: dict[str, object] = {"name": "logs", "kind": "logs", "tick_us": 60_000_000, "group": ("source",)}
    definition = Definition(**(settings | changes))  # type: ignore[arg-type]
    scorer = Scorer(NullEngine(), cache_entries=100, batch_tokens=1000)
    history = FileReplay(definition, paths, scorer, form=form, as_of_us=lambda _: NOW_US, slice_items=batch)
    dead = [letter for step in history.steps() for letter in step.dead]
    return history.counts, dead


def reasons_fit(reasons: list[str]) -> bool:
    return all(any(why in reason for reason in reasons) for _, why in BAD.values()) and len(reasons) == len(BAD)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_file_of_bad_items_counts_all_others(tmp_path: Path, packed: bool, batch: int) -> None:
    path = tmp_path / ("items.json.gz" if packed else "items.json")
    content = b"\n".join(LINES) + b"\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    counts, dead = replayed(path, form="json", batch=batch)
    assert reasons_fit([letter.reason for letter in dead])
    assert counts == Counts(counted=len(BAD) + len(ODD), dead=len(BAD))
    assert counts.items == len(LINES)


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    for name, content in (("a.log", b""), ("b.json", b"\n\n"), ("c.gz", gzip.compress(b""))):
        (tmp_path / name).write_bytes(content)
        assert replayed(tmp_path / name) == (Counts(), [])
    (tmp_path / "d.csv").write_bytes(b"")
    assert replayed(tmp_path / "d.csv") == (Counts(), [])


def test_a_line_of_fifty_megabytes_is_one_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    with path.open("wb") as file:
        file.write(GOOD + b"\n" + b'{"text":"')
        for _ in range(50):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + GOOD + b"\n")
    counts, (letter,) = replayed(path)
    assert counts == Counts(counted=2, dead=1)
    assert "1,048,576 bytes" in letter.reason
    assert len(letter.payload) <= 64 * 1024


def test_a_gzip_file_cut_in_half_gives_what_was_left_and_one_dead_letter(tmp_path: Path) -> None:
    lines = [item(text=f"line {os.urandom(8).hex()}") for _ in range(5000)]
    packed = gzip.compress(b"\n".join(lines) + b"\n")
    path = tmp_path / "items.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    counts, dead = replayed(path)
    assert 1000 < counts.counted < 4000
    assert [letter.reason for letter in dead][-1:] == ["the gzip file is cut off in the middle: what follows is lost"]
    assert counts.dead == len(dead) == 1


def test_a_file_rewritten_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_bytes((GOOD + b"\n") * 50_000)
    scorer = Scorer(NullEngine(), cache_entries=100, batch_tokens=1000)
    definition = Definition(name="logs", kind="logs", tick_us=60_000_000)
    history = FileReplay(definition, [path], scorer, as_of_us=lambda _: NOW_US, slice_items=100)
    steps = history.steps()
    next(steps)
    path.write_bytes((GOOD + b"\n") * 10)
    with pytest.raises(SourceError, match=r"was changed while it was read .*replay a copy"):
        list(steps)


def test_a_table_with_broken_rows_counts_all_others(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(
        b"time,text,source,bad,total\n"
        b"2024-10-03,x,web,1,2\n"
        b"2024-10-03,x,web,3,2\n"
        b"2024-10-03,x,web,-1,2\n"
        b"2024-10-03,x,web,nan,2\n"
        b"2024-10-03,x,web\n"
        b'2024-10-03,"never closed,web,1,2\n'
        b"2024-10-03,\xff,web,1,2\n"
        b",x,web,1,2\n"
        b"2024-10-03,x,web,0,0\n"
    )
    counts, dead = replayed(path)
    assert counts == Counts(counted=2, dead=7)
    assert len({letter.position for letter in dead}) == 7
    assert all(letter.reason for letter in dead)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", '[{"text":"x"}]'.encode("utf-16"), "UTF-16"),
        ("a.csv", b"when,what\n1,2\n", 'no column "text"'),
        ("a.json", b'[{"text":"x"}]', "array"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_says_why(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=why):
        replayed(tmp_path / name)


STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
clock = "data"
group = ["source"]
member = ["host"]
[[streams.logs.sources]]
kind = "push"
[[streams.logs.sources]]
name = "files"
kind = "directory"
path = "{folder}"
"""


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> Live:
    (tmp_path / "in").mkdir()
    return Live(tmp_path, database_url, STREAMS.format(folder=tmp_path / "in"))


def test_bad_pushes_are_refused_or_dead_letters_and_what_comes_after_counts(live: Live) -> None:
    with live.up():
        long = b'{"text":"' + b"x" * 2_000_000 + b'"}'
        accepted = live.push(*LINES, long, GOOD)
        for body, status in (
            (b"x" * 20_000_000, 413),  # more than a push may hold
            (b"", 400),
            (b"\n\n", 400),
            (gzip.compress(GOOD)[:30], 400),
        ):
            encoding = {"content_encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
            answer = live.post("/v1/items?stream=logs", body, **encoding)
            assert answer.status_code == status, answer.text
            assert answer.json()["detail"]
        bomb = zlib.compressobj(wbits=31)
        packed = bomb.compress(b" " * 200_000_000) + bomb.flush()
        assert live.post("/v1/items?stream=logs", packed, content_encoding="gzip").status_code == 413
        accepted += live.push(GOOD)
        live.folded()
    counts = live.counts()
    assert counts == {
        "accepted": accepted,
        "counted": len(BAD) + len(ODD) + 2,
        "late": 0,
        "duplicates": 0,
        "dead": len(BAD) + 1,
    }
    assert accepted == len(LINES) + 3
    letters = live.rows(tables.dead_letters)
    assert reasons_fit([row.reason for row in letters if "bytes long" not in row.reason])
    assert {bytes(row.payload) for row in letters} == {bad for bad, _ in BAD.values()} | {long}


def test_bad_files_in_a_watched_directory_end_in_dead_letters_and_others_count(live: Live) -> None:
    folder = live.folder / "in"
    with live.up():
        (folder / "bad.json").write_bytes(b"\n".join(LINES) + b"\n")
        (folder / "empty.json").write_bytes(b"")
        with (folder / "long.json").open("wb") as file:
            file.write(b"x" * 50_000_000 + b"\n" + GOOD + b"\n")
        (folder / "utf16.json").write_bytes('{"text":"x"}'.encode("utf-16"))
        (folder / "table.csv").write_bytes(
            b"time,text,source\n2024-10-03T10:00,x,web\n2024-10-03,x\n2024-10-03T10:00,y,web\n"
        )
        (folder / "link.json").symlink_to("/nowhere")
        os.mkfifo(folder / "pipe.json")
        counted = len(BAD) + len(ODD) + 3
        until(lambda: live.counts()["counted"] == counted and live.counts()["dead"] == len(BAD) + 2)
        rewritten = folder / "rewritten.json"
        rewritten.write_bytes((item(text="first") + b"\n") * 10)
        until(lambda: live.counts()["counted"] == counted + 10)
        rewritten.write_bytes((item(text="second") + b"\n") * 20)  # other bytes: it begins again
        until(lambda: live.counts()["counted"] == counted + 30)
        live.push(GOOD)
        live.folded()
        assert live.runtime is not None
        assert live.runtime.error is None
    counts = live.counts()
    assert counts["accepted"] == sum(counts[name] for name in ("counted", "late", "duplicates", "dead"))
    assert counts["dead"] == len(live.rows(tables.dead_letters))
