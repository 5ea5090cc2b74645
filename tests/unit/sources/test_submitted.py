"""Submissions from files and pipes: every line or row in order, in constant memory, whatever the bytes."""

from __future__ import annotations

import gzip
import json
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SourceError
from pipeline.scoring.submissions import Fields, Submission
from pipeline.sources.inflow import Inflow
from pipeline.sources.submitted import MAX_BYTES, submitted


def parts(path: Path, form: Any = "auto", fields: Fields | None = None, kind: str = "") -> list[list[Submission]]:
    with Inflow(path) as inflow:
        return list(submitted(inflow, form, fields or Fields(), kind=kind))


def read(path: Path, data: bytes, form: Any = "auto", fields: Fields | None = None, kind: str = "") -> list[Submission]:
    path.write_bytes(data)
    return [one for some in parts(path, form, fields, kind) for one in some]


def texts(submissions: list[Submission]) -> list[str]:
    return [one.error or one.text for one in submissions]


def ids(submissions: list[Submission]) -> list[object]:
    return [json.loads(bytes(one.id)) for one in submissions]


def test_json_lines_are_read_in_order_and_blank_ones_are_none(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"id":1,"text":"a"}\r\n\n  \n{"id":2,"text":"b"}'
    found = read(tmp_path / "x", data)
    assert (ids(found), texts(found)) == ([1, 2], ["a", "b"])


def test_an_error_names_the_line_as_an_editor_counts_it(tmp_path: Path) -> None:
    found = read(tmp_path / "x", b'{"text":"a"}\n\nbroken\n{"text":"\xff"}\n{"text":"b"}\n')
    assert [one.error.partition(":")[0] for one in found] == ["", "line 3", "line 4", ""]


def test_a_table_is_read_by_its_columns(tmp_path: Path) -> None:
    data = b'ID,Text,Kind,bad\nx,"two\nlines, quoted",logs,1\ny,b,,0\n'
    found = read(tmp_path / "x.csv", data)
    assert (ids(found), texts(found), [one.kind for one in found]) == (
        ["x", "y"],
        ["two\nlines, quoted", "b"],
        ["logs", ""],
    )
    named = read(tmp_path / "y.csv", b"url;title;id\nu;t;9\n", fields=Fields(text="title", id="url"))
    assert (ids(named), texts(named)) == (["u"], ["t"])


def test_columns_that_are_not_read_may_hold_anything(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "x.csv", b"text,time,time,source\na,1,2,\xff\n")) == ["a"]


def test_a_broken_row_has_its_error_in_its_place(tmp_path: Path) -> None:
    found = read(tmp_path / "x.csv", b"id,text\n1,a\n2,b,c\n3,\xff\n4,d\n")
    assert texts(found) == [
        "a",
        "row 2: a row of 3 columns where the header has 2",
        "row 3: a row that is not UTF-8",
        "d",
    ]


@pytest.mark.parametrize(
    ("data", "fields", "says"),
    [
        (b"id,title\n1,a\n", Fields(), "has no column 'text' for text; it has 'id', 'title'"),
        (b"id,text\n1,a\n", Fields(text="txt"), "did you mean 'text'"),
        (b"text\na\n", Fields(id="url"), "has no column 'url' for id"),
        (b"text,id\na,1", Fields(kind="type"), "has no column 'type' for kind"),
        (b"bad,total\n1,2\n", Fields(), "has no column 'text'"),
        (b"text,kind,Kind\na,,\n", Fields(), "one for kind: 'kind', 'Kind'"),
    ],
)
def test_a_table_without_the_column_is_refused_with_those_that_it_has(
    tmp_path: Path, data: bytes, fields: Fields, says: str
) -> None:
    with pytest.raises(SourceError, match="--text-column") as refused:
        read(tmp_path / "x.csv", data, fields=fields)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('{"text":"a"}\n'.encode("utf-16"), "UTF-16"),
        (b'[{"text":"a"}]', "a JSON array"),
        (b'[\n{"text":"a"}\n', "a JSON array"),
        (b'[{"text":"a"},\n{"text":"b"}]\n', "a JSON array"),
        (b'{\n"text":"a"}\n', "JSON over many lines"),
        (b"\x7fELF\x02\x01\0\0,\xe5\n\x92F", "not text: it has NUL bytes; write it as JSON lines or CSV"),
        (b"[\0\x8e\n", "not text: it has NUL bytes"),
        (b"\x7f\0\x8e\n{\0\x01\n", "not text: it has NUL bytes"),
        (b"[\x92F\x8e\xe5\n\xd0,\xb1", "not text in UTF-8; if it is text in another encoding"),
        ("заголовок,дата\n".encode("cp1251"), "not text in UTF-8"),
    ],
)
def test_what_has_no_lines_is_refused_with_the_way_out(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read(tmp_path / "x", data)


@pytest.mark.parametrize(
    ("name", "data", "is_json"),
    [
        ("x", b'{"text":"a"}\n', True),
        ("x", b"broken\n", True),
        ("x", b'broken, with a comma\n{"text":"a"}\n', True),
        ("x", b'[1]\n{"text":"a"}\n', True),
        ("x", b'\xff\xfe\n{"text":"a"}\n', True),
        ("x", b"text\nhello\n", False),
        ("x", b"id\ttext\n1\thello\n", False),
        ("x.csv", b"text\n", False),
        ("x.csv", b"text,id\n{oops} disk failed,1\nfine day,2\n", False),
        ("x.TSV.gz", b"text\n{oops} disk failed\n", False),
        ("x.csv", b"[id],text\n1,a\n", False),
        ("x", b"text,id\n{oops} disk failed,1\nfine day,2\n", False),
        ("x", b"Text\n{oops} disk failed\n", False),
        ("x", b'{"x":[1,"text",2],"text":"a"}\n', True),
        ("x.ndjson", b"a,b\n", True),
        ("x.jsonl.gz", b"text\n", True),
        ("x", b"", True),
        ("x", b"a\rb,c\n", True),
        ("x", b"x" * 300_000, True),
    ],
)
def test_what_an_input_holds_is_seen_from_its_first_lines(
    tmp_path: Path, name: str, data: bytes, is_json: bool
) -> None:
    found = read(tmp_path / name, data)
    assert texts(found) == texts(read(tmp_path / name, data, form="json" if is_json else "csv"))


def test_a_table_is_seen_by_the_column_that_was_asked_for(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "x", b"Title\nShares plunge\n", fields=Fields(text="title"))) == ["Shares plunge"]
    joined = read(tmp_path / "x", b"title,body\n{oops},down\n", fields=Fields(text="Title, body"))
    assert texts(joined) == ["{oops} down"]
    found = read(tmp_path / "x", b"headline\nShares plunge\n", fields=Fields(text="title"))
    assert all("not JSON" in one.error for one in found)


def test_what_was_asked_for_beats_the_name(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "x.csv", b'{"text":"a"}\n', form="json")) == ["a"]
    assert texts(read(tmp_path / "x.jsonl", b"text\na\n", form="csv")) == ["a"]
    assert texts(read(tmp_path / "y.csv", b"text\na\n", form="line")) == ["text", "a"]


def test_json_lines_that_are_called_a_table_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--form json reads JSON lines"):
        read(tmp_path / "x.csv", b'{"text":"a"}\n')


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b'{"text":"a\0"}\n{"text":"b"}\n', "json"),
        (b"text\na\0\nb\n", "csv"),
        (b"text\n" + "беда\n".encode("cp1251"), "csv"),
        (b"a\0\nb\n", "line"),
    ],
)
def test_broken_bytes_among_what_can_be_read_refuse_no_more_than_their_line(
    tmp_path: Path, data: bytes, form: str
) -> None:
    found = read(tmp_path / "x", data, form="line" if form == "line" else "auto")
    assert texts(found) == texts(read(tmp_path / "x", data, form=form))


def test_the_name_of_a_table_makes_no_text_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not text: it has NUL bytes"):
        read(tmp_path / "x.csv", b"PK\x03\x04\0\0")


def test_plain_lines_are_texts(tmp_path: Path) -> None:
    found = read(tmp_path / "x", b'disk failed\r\n\n{"a":1}\n\xff\n', form="line", kind="logs")
    assert texts(found)[:2] == ["disk failed", '{"a":1}']
    assert found[2].error.startswith("line 4: not UTF-8")
    assert [one.kind for one in found[:2]] == ["logs", "logs"]


def test_gzip_is_unpacked_and_its_damage_told(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b'{"id":%d,"text":"%032x"}\n' % (n, n * 7919**9) for n in range(50_000)))
    path = tmp_path / "x"
    path.write_bytes(packed)
    assert sum(map(len, parts(path))) == 50_000
    path.write_bytes(packed[: len(packed) // 2])
    with Inflow(path) as inflow:
        found = [one for some in submitted(inflow, "auto", Fields(), kind="") for one in some]
        assert "cut off" in inflow.damage
    assert 10_000 < len(found) < 40_000


def test_a_line_above_the_limit_is_an_error_in_its_place_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(b'{"text":"a"}\n{"text":"')
        for _ in range(64):
            file.write(b"word " * 200_000)
        file.write(b'"}\n{"text":"' + b"x" * 10_000_000 + b'"}\n{"text":"b"}\n')
    tracemalloc.start()
    found = [one for some in parts(path) for one in some]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts(found)[0] == "a"
    assert found[1].error == f"line 2: a line of more than {MAX_BYTES:,} bytes, the limit for one item"
    assert (found[2].flags, texts(found)[3]) == (("cut",), "b")
    assert peak < 100 * 2**20


def test_a_slow_writer_gets_what_it_wrote_before_it_writes_more(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    may_go_on = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b'{"text":"a"}\n')
            assert may_go_on.wait(10)
            pipe.write(b'{"text":"b"}\n{"text":')
            pipe.write(b'"c"}')

    writer = threading.Thread(target=write)
    writer.start()
    found: list[str] = []
    with Inflow(path) as inflow:
        for some in submitted(inflow, "auto", Fields(), kind=""):
            found += texts(some)
            if not some and found == ["a"]:  # told that nothing more is there for now
                may_go_on.set()
    writer.join()
    assert found == ["a", "b", "c"]
    assert inflow.part_read is None
