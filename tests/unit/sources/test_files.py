"""Opening plain and packed files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.sources.files import OpenFile, form_of, is_rotated, source_name

TEXT = b"".join(b"line %d\n" % i for i in range(50_000))


def content(path: Path, size: int = 10_000) -> tuple[bytes, str]:
    with OpenFile(path) as file:
        data = b"".join(iter(lambda: file.read(size), b""))
        assert file.read() == b""
        return data, file.damage


def test_gzip_is_known_by_its_first_bytes_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "packed.log").write_bytes(gzip.compress(TEXT))
    (tmp_path / "plain.gz").write_bytes(TEXT)
    assert content(tmp_path / "packed.log") == (TEXT, "")
    assert content(tmp_path / "plain.gz") == (TEXT, "")


def test_gzip_members_and_padding_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(TEXT) + b"\0" * 70_000 + gzip.compress(b"more") + b"\0" * 512)
    assert content(path) == (TEXT + b"more", "")


@pytest.mark.parametrize("size", [1, 997, 2**18])
def test_what_can_be_read_of_a_cut_gzip_file_is_read(tmp_path: Path, size: int) -> None:
    packed = gzip.compress(TEXT, mtime=0)
    path = tmp_path / "a.gz"
    path.write_bytes(packed[: len(packed) // 2])
    data, damage = content(path, size)
    assert len(data) > len(TEXT) // 4
    assert TEXT.startswith(data)
    assert "cut off" in damage


def test_damaged_gzip_says_so_after_what_could_be_read(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT, mtime=0))
    packed[-6] ^= 255  # the checksum
    (tmp_path / "checksum.gz").write_bytes(packed)
    (tmp_path / "garbage.gz").write_bytes(gzip.compress(TEXT) + b"garbage")
    for name in ("checksum.gz", "garbage.gz"):
        data, damage = content(tmp_path / name)
        assert TEXT.startswith(data)
        assert "damaged" in damage


def test_a_gzip_bomb_is_unpacked_in_small_pieces(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"\0" * 50_000_000))
    with OpenFile(path) as file:
        assert max(len(block) for block in iter(file.read, b"")) <= 2**18


def test_an_empty_file_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert content(tmp_path / "empty") == (b"", "")


@pytest.mark.parametrize("packed", [False, True])
def test_reading_goes_on_from_any_place(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(TEXT) if packed else TEXT)
    with OpenFile(path) as file:
        for offset in (123_456, 7, 300_000):
            file.go_to(offset)
            assert file.read_exactly(10) == TEXT[offset : offset + 10]
        file.go_to(len(TEXT) - 5)
        assert file.read_exactly(10) == TEXT[-5:]
        file.go_to(len(TEXT) + 5)
        assert file.read() == b""


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", Path("/dev/zero"), Path("nul\0byte")):
        with pytest.raises(SourceError):
            OpenFile(path)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("app.log", "app.log"),
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20240614", "app.log"),
        ("app.log-20240614.gz", "app.log"),
        ("cases.csv.gz", "cases.csv"),
        ("cases-20240614.csv", "cases-20240614.csv"),
        (".gz", ".gz"),
    ],
)
def test_the_source_of_a_file_survives_its_rotation(name: str, source: str) -> None:
    assert source_name(name) == source
    assert is_rotated(name) == (name != source)


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.csv.gz", b"x", "csv"),
        ("a.TSV", b"x", "csv"),
        ("a.csv.1", b"x", "csv"),
        ("a.jsonl", b"x", "json"),
        ("a.json", b'{"a": 1}\n{"a": 2}', "json"),
        ("a.txt", b'\xef\xbb\xbf{"a": 1}', "json"),
        ("a.log", b"[Sun Dec 04 04:47:44 2005] x", "line"),
        ("a", b"", "line"),
    ],
)
def test_a_form_is_told_by_name_then_first_bytes(name: str, head: bytes, form: str) -> None:
    assert form_of(Path(name), "auto", head) == form


def test_a_form_that_was_asked_for_is_used() -> None:
    assert form_of(Path("a.csv"), "line", b"{") == "line"


@pytest.mark.parametrize(
    ("name", "head", "says"),
    [
        ("a.json", b' [\n{"a": 1}]', "a JSON array"),
        ("a.json", b'{\n  "a": 1\n}', "JSON over many lines"),
        ("a.log", "x".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_cannot_be_read_piece_by_piece_is_refused_with_the_way_out(name: str, head: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        form_of(Path(name), "auto", head)
