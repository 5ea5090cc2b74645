"""A file as a raw partition."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.records import RawRecord
from pipeline.sources.filelog import FileLog


def records(path: Path, max_items: int = 4096, **options: object) -> list[RawRecord]:
    return list(FileLog(path, partition="p", received_us=7, **options).records(max_items))  # type: ignore[arg-type]


def test_a_file_is_its_lines_and_then_leaves(tmp_path: Path) -> None:
    path = tmp_path / "app.log.1"
    path.write_bytes(b"a\nb\r\nc")
    assert records(path, 2) == [
        RawRecord(0, 7, form="line", source="app.log", payloads=[b"a", b"b"]),
        RawRecord(2, 7, form="line", source="app.log", payloads=[b"c"]),
        RawRecord(3, 7, kind="leave"),
    ]


def test_an_empty_file_only_leaves(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert records(tmp_path / "a.csv") == [RawRecord(0, 7, kind="leave")]


def test_broken_items_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\na\nb,b\nc\n")
    found = records(path)
    assert [(r.position, r.form, r.payloads) for r in found[:-1]] == [
        (0, "row", [b'{"text":"a"}']),
        (1, "broken", [b"b,b"]),
        (2, "row", [b'{"text":"c"}']),
    ]
    assert found[1].note == "a row of 2 columns where the header has 1"


def test_a_cut_gzip_file_gives_what_it_holds_and_then_a_broken_item(tmp_path: Path) -> None:
    lines = [b'{"text":"number %d"}' % i for i in range(20_000)]
    packed = gzip.compress(b"\n".join(lines))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    *whole, torn, leave = records(path)
    read = [payload for record in whole for payload in record.payloads]
    assert 5000 < len(read) < 20_000
    assert read == lines[: len(read)]
    assert (torn.form, torn.position) == ("broken", len(read))
    assert lines[len(read)].startswith(torn.payloads[0])
    assert "cut off" in torn.note
    assert leave.position == len(read) + 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"line of text\n" * 100_000)
    reading = FileLog(path, partition="p", received_us=7).records(1000)
    next(reading)
    os.truncate(path, 500_000)
    with pytest.raises(SourceError, match="changed while it was read"):
        list(reading)


def test_a_missing_column_stops_the_replay_before_any_item(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"Title\na\n")
    with pytest.raises(SourceError, match="Title"):
        records(path, columns={"text": "Headline"})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed") / "a.log"
    path.write_bytes(b"".join(b"%d\n" % i + (b"x" * 99 + b"\n") * (i % 7 == 0) for i in range(50)))
    return path


@given(st.integers(1, 100))
@settings(max_examples=30)
def test_the_slicing_changes_no_position_and_no_payload(mixed: Path, max_items: int) -> None:
    def flat(size: int) -> list[tuple[int, str, bytes, str]]:
        found = records(mixed, size, max_item_bytes=50)
        assert all(len(record.payloads) <= size for record in found)
        return [
            (record.position + i, record.form, payload, record.note)
            for record in found
            for i, payload in enumerate(record.payloads)
        ]

    expected = flat(1_000_000)
    assert [position for position, *_ in expected] == list(range(58))
    assert flat(max_items) == expected


def test_json_lines_are_read_at_more_than_300_000_a_second(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((b'{"text": "' + b"x" * 187 + b'"}\n') * 100_000)

    def rate() -> float:
        begin = time.perf_counter()
        count = sum(len(record.payloads) for record in FileLog(path, partition="p", received_us=7).records(4096))
        assert count == 100_000
        return count / (time.perf_counter() - begin)

    assert max(rate() for _ in range(5)) > 300_000  # several million on an idle core
