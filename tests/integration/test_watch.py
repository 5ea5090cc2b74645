"""A watched directory, with real files: each item once, whatever happens to its file."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_journal import MemoryJournal
from structlog.testing import capture_logs

from pipeline.errors import JournalFull
from pipeline.instants import SECOND_US
from pipeline.journal.journal import Journal
from pipeline.records import RawRecord
from pipeline.sources import watch as watch_module
from pipeline.sources.followed import STEADY_AFTER_US
from pipeline.sources.journal_contract import Journal as JournalContract
from pipeline.sources.watch import PARTIAL_AFTER_US, DirectoryWatch
from pipeline.streams import SourceDefinition


class Watched:
    """A directory, its journal, a clock that only moves when told, and the watch, which may be restarted."""

    def __init__(self, folder: Path, pattern: str = "*", journal: JournalContract | None = None, **options: object):
        self.folder = folder
        self.journal = MemoryJournal()
        self.now_us = 1_700_000_000 * SECOND_US
        self._made = (pattern, journal or self.journal, options)
        self.restart()

    def restart(self) -> None:
        pattern, journal, options = self._made
        columns = options.pop("columns", {}) if "columns" in options else {}
        source = SourceDefinition(
            name="s",
            kind="directory",
            path=str(self.folder),
            pattern=pattern,
            columns=columns,  # type: ignore[arg-type]
        )
        if hasattr(self, "watch"):
            self.watch.close()
        self.watch = DirectoryWatch(source, journal, **options)  # type: ignore[arg-type]

    def scan(self, after_us: int = SECOND_US) -> list[bytes]:
        """What one scan appends."""
        self.now_us += after_us
        before = len(self.journal.payloads)
        count = self.watch.scan_once(self.now_us)
        new = self.journal.payloads[before:]
        assert count == len(new)
        return new

    def write(self, name: str, data: bytes, mode: str = "ab") -> Path:
        path = self.folder / name
        with path.open(mode) as file:
            file.write(data)
        return path


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "in").mkdir()
    return Watched(tmp_path / "in")


def lines(start: int, end: int, *, short: bool = False) -> bytes:
    """Log lines that differ, as real ones do by their time, and, unless short, are enough to know a file by one."""
    line = b"Jun 14 15:16:02 host program[%06d]: something happened" + b" again" * (not short) * 40 + b"\n"
    return b"".join(line % i for i in range(start, end))


def items(start: int, end: int) -> list[bytes]:
    return lines(start, end).splitlines()


def test_new_files_and_growth_are_read_once(watched: Watched) -> None:
    watched.write("a.log", lines(0, 3))
    assert watched.scan() == items(0, 3)
    assert watched.scan() == []
    watched.write("a.log", lines(3, 5))
    watched.write("b.log", lines(5, 6))
    assert watched.scan() == items(3, 6)
    assert [record.source for record in watched.journal.records] == ["a.log", "a.log", "b.log"]
    assert watched.watch.at_end


def test_a_restart_goes_on_where_the_journal_is(watched: Watched) -> None:
    watched.write("a.log", lines(0, 1000))
    watched.scan()
    watched.write("a.log", lines(1000, 1500))
    watched.restart()
    assert watched.scan() == items(1000, 1500)
    watched.restart()
    assert watched.scan() == []
    assert watched.watch.at_end


def test_a_partial_line_waits_for_its_end(watched: Watched) -> None:
    watched.write("a.log", b"one\ntw")
    assert watched.scan() == [b"one"]
    assert not watched.watch.at_end
    watched.write("a.log", b"o\nthree")
    assert watched.scan() == [b"two"]
    assert watched.scan(PARTIAL_AFTER_US) == [b"three"]
    assert watched.watch.at_end
    watched.write("a.log", b"\nfour\n")
    assert watched.scan() == [b"four"]


def test_the_partial_line_of_a_deleted_file_is_taken_as_it_is(watched: Watched) -> None:
    path = watched.write("a.log", b"one\ntw")
    watched.scan()
    watched.write("a.log", b"o and more")
    path.unlink()
    assert watched.scan() == [b"two and more"]
    assert watched.watch.at_end


def test_a_partial_line_is_not_lost_by_a_restart(watched: Watched) -> None:
    watched.write("a.log", b"one\ntw")
    watched.scan()
    watched.restart()
    watched.write("a.log", b"o\n")
    assert watched.scan() == [b"two"]


def test_after_a_rename_the_old_file_is_finished_first(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 10))
    watched.scan()
    watched.write("a.log", lines(10, 20))
    path.rename(watched.folder / "a.log.1")
    watched.write("a.log", lines(20, 30))
    assert watched.scan() == items(10, 30)
    assert {record.source for record in watched.journal.records} == {"a.log"}


def test_a_renamed_file_is_finished_even_if_its_new_name_does_not_match(watched: Watched) -> None:
    watched = Watched(watched.folder, "*.log")
    path = watched.write("a.log", lines(0, 10))
    watched.scan()
    watched.write("a.log", lines(10, 20))
    path.rename(watched.folder / "a.log.1")
    watched.write("other.txt", b"not wanted\n")
    watched.restart()
    assert watched.scan() == items(10, 20)


def test_copying_and_truncating_loses_and_repeats_nothing(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 100))
    watched.scan()
    watched.write("a.log", lines(100, 120))
    shutil.copy(path, watched.folder / "a.log.1")
    os.truncate(path, 0)
    watched.write("a.log", lines(120, 130))
    assert watched.scan() == items(120, 130)
    assert not watched.watch.at_end  # the copy may still be growing
    assert watched.scan(STEADY_AFTER_US) == items(100, 120)
    assert watched.scan(STEADY_AFTER_US) == []
    watched.restart()
    assert watched.scan(STEADY_AFTER_US) == []
    assert watched.scan(STEADY_AFTER_US) == []


def test_a_file_that_grew_past_its_old_size_after_a_truncation_begins_again(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 100))
    watched.scan()
    os.truncate(path, 0)
    watched.write("a.log", lines(100, 300))
    assert watched.scan() == items(100, 300)


def test_a_file_that_is_rewritten_under_the_same_header_begins_again(watched: Watched) -> None:
    header = b"# " + b"columns " * 100 + b"\n"
    watched.write("a.log", header + lines(0, 10))
    watched.scan()
    watched.write("a.log", header + lines(10, 30), "wb")
    assert watched.scan() == [header.strip(b"\n"), *items(10, 30)]


def test_a_truncated_file_with_a_held_line_begins_again(watched: Watched) -> None:
    path = watched.write("a.log", b"held, no line end")
    assert watched.scan() == []
    os.truncate(path, 0)
    watched.write("a.log", b"new\n")
    assert watched.scan() == [b"new"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_rotated_file_that_is_packed_is_not_read_again(watched: Watched, restart: bool) -> None:
    path = watched.write("a.log", lines(0, 100))
    watched.scan()
    watched.write("a.log", lines(100, 110))
    (watched.folder / "a.log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    if restart:  # else the deleted file is still open
        watched.restart()
    first = watched.scan()
    assert first == ([] if restart else items(100, 110))
    assert first + watched.scan(STEADY_AFTER_US) == items(100, 110)
    watched.restart()
    watched.scan()
    assert watched.scan(STEADY_AFTER_US) == []


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("unread", [0, 1])
def test_a_small_file_that_is_rotated_and_packed_is_not_read_again(
    watched: Watched, restart: bool, unread: int
) -> None:
    path = watched.write("a.log", lines(0, 2, short=True))
    watched.scan()
    watched.write("a.log", lines(2, 2 + unread, short=True))
    (watched.folder / "a.log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    watched.write("a.log", lines(3, 4, short=True))
    if restart:
        watched.restart()
    found = watched.scan() + watched.scan(STEADY_AFTER_US) + watched.scan(STEADY_AFTER_US)
    assert sorted(found) == lines(2, 2 + unread, short=True).splitlines() + lines(3, 4, short=True).splitlines()


def test_a_small_file_that_is_copied_and_truncated_is_not_read_again(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 2, short=True))
    watched.scan()
    shutil.copy(path, watched.folder / "a.log.1")
    os.truncate(path, 0)
    assert watched.scan() + watched.scan(STEADY_AFTER_US) + watched.scan(STEADY_AFTER_US) == []


def test_small_files_that_only_begin_alike_are_all_read(watched: Watched) -> None:
    watched.write("a.log", b"started\n")
    for k in (1, 2):
        (watched.folder / f"a.log.{k}.gz").write_bytes(gzip.compress(b"started\n%d\n" % k))
    found = watched.scan() + watched.scan(STEADY_AFTER_US) + watched.scan(STEADY_AFTER_US)
    assert sorted(found) == [b"1", b"2", b"started", b"started", b"started"]


def test_packed_files_are_read_once_they_stand_still(watched: Watched) -> None:
    packed = gzip.compress(lines(0, 5000))
    watched.write("a.log.gz", packed[:9000])
    assert watched.scan() == []
    watched.write("a.log.gz", packed[9000:])
    assert watched.scan(STEADY_AFTER_US) == []
    assert watched.scan(STEADY_AFTER_US) == items(0, 5000)
    assert watched.watch.at_end
    watched.restart()
    assert watched.scan() + watched.scan(STEADY_AFTER_US) == []
    assert watched.watch.at_end


def test_a_cut_gzip_file_is_read_on_when_its_rest_comes(watched: Watched) -> None:
    packed = gzip.compress(lines(0, 5000))
    watched.write("a.log.gz", packed[:12000])
    watched.scan()
    *first, torn = watched.scan(STEADY_AFTER_US)
    assert 0 < len(first) < 5000
    assert items(0, 5000)[len(first)].startswith(torn)
    assert (watched.journal.records[-1].form, watched.journal.records[-1].payloads) == ("broken", [torn])
    watched.restart()
    assert watched.scan() + watched.scan(STEADY_AFTER_US) == []
    watched.write("a.log.gz", packed[12000:])
    watched.scan()
    assert first + watched.scan(STEADY_AFTER_US) == items(0, 5000)


def test_a_longer_copy_under_the_same_name_goes_on(watched: Watched) -> None:
    watched.write("a.log", lines(0, 100))
    watched.scan()
    watched.write("a.log.tmp", lines(0, 150))
    watched.scan()
    (watched.folder / "a.log.tmp").rename(watched.folder / "a.log")
    assert watched.scan() == items(100, 150)


def test_a_new_file_in_the_place_of_a_deleted_one_is_new(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 100))
    watched.scan()
    path.unlink()
    watched.write("a.log", lines(100, 300))  # most file systems give it the same inode
    assert watched.scan() == items(100, 300)


def test_several_names_of_one_file_are_one_file(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 10))
    os.link(path, watched.folder / "b.log")
    (watched.folder / "c.log").symlink_to(path)
    (watched.folder / "d.log").symlink_to("missing")
    os.mkfifo(watched.folder / "e.log")
    assert watched.scan() == items(0, 10)


def test_a_name_that_is_not_utf_8_is_read_like_any_other(watched: Watched) -> None:
    name = os.fsdecode(b"bad\xff.log")
    path = watched.write(name, lines(0, 100))
    watched.write("good.log", lines(100, 101))
    assert sorted(watched.scan()) == items(0, 101)
    assert {record.source for record in watched.journal.records} == {"bad\\xff.log", "good.log"}
    watched.restart()
    watched.write(name, lines(101, 102))
    (watched.folder / f"{name}.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert watched.scan() + watched.scan(STEADY_AFTER_US) == items(101, 102)


def test_hidden_and_unfinished_names_are_left_alone(watched: Watched) -> None:
    for name in (".a.log", "a.log.tmp", "a.log.part", "a.log~"):
        watched.write(name, lines(0, 1))
    assert watched.scan() == []
    (watched.folder / "a.log.part").rename(watched.folder / "a.log")
    assert watched.scan() == items(0, 1)


def test_a_table_goes_on_after_a_restart_with_its_header(tmp_path: Path) -> None:
    watched = Watched(tmp_path, columns={"text": "Title"})
    watched.write("a.csv", b'Date,Title\n1,a\n2,"b')
    assert watched.scan() == [b'{"text":"a"}']
    watched._made[2]["columns"] = {"text": "Title"}  # type: ignore[index]
    watched.restart()
    watched.write("a.csv", b'\nb"\nc,d,e\n3,f\n')
    assert watched.scan() == [b'{"text":"b\\nb"}', b"c,d,e", b'{"text":"f"}']
    assert [record.form for record in watched.journal.records] == ["row", "row", "broken", "row"]


def test_a_file_that_cannot_be_read_is_logged_once_and_left_until_it_changes(watched: Watched) -> None:
    watched.write("a.csv", b"Headline\nx\n")
    watched.write("b.log", lines(0, 1))
    with capture_logs() as logs:
        assert watched.scan() == items(0, 1)
        assert watched.scan() == []
    assert [entry["event"] for entry in logs] == ["file_refused"]
    assert "Headline" in logs[0]["error"]
    watched.write("a.csv", b"text\nx\n", "wb")
    assert watched.scan() == [b'{"text":"x"}']


def test_a_directory_that_is_missing_is_not_at_its_end(watched: Watched) -> None:
    watched.write("a.log", lines(0, 10))
    watched.scan()
    aside = watched.folder.with_name("aside")
    watched.folder.rename(aside)
    with capture_logs() as logs:
        assert watched.scan() == watched.scan() == []
    assert not watched.watch.at_end
    assert [entry["event"] for entry in logs] == ["directory_unreadable"]
    aside.rename(watched.folder)
    watched.write("a.log", lines(10, 11))
    assert watched.scan() == items(10, 11)


def test_a_large_backlog_takes_several_scans_and_is_not_the_end(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "SCAN_BYTES", 2**20)
    watched.write("a.log", lines(0, 12_000))
    watched.write("b.log", lines(12_000, 12_010))
    found: list[bytes] = []
    scans = 0
    while not watched.watch.at_end:
        found += watched.scan()
        scans += 1
    assert found == items(0, 12_010)
    assert scans >= 3


def test_an_overlong_line_is_broken_and_reading_goes_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path, max_item_bytes=1000)
    watched.write("a.log", b"one\n" + b"x" * 5000)
    assert watched.scan() == [b"one"]
    watched.write("a.log", b"x" * 5000 + b"\ntwo\n")
    assert [payload[:3] for payload in watched.scan()] == [b"xxx", b"two"]
    assert "1,000 bytes" in watched.journal.records[1].note


def test_a_full_disk_loses_and_repeats_nothing(watched: Watched) -> None:
    path = watched.write("a.log", lines(0, 10))
    watched.scan()
    watched.write("a.log", lines(10, 20) + b"held")
    path.unlink()
    watched.journal.fail_after = 1
    with pytest.raises(JournalFull):
        watched.scan()
    watched.scan()
    assert watched.journal.payloads == [*items(0, 20), b"held"]


def test_an_append_that_fails_in_an_unforeseen_way_loses_and_repeats_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.write("a.log", lines(0, 10))
    with monkeypatch.context() as patched:
        patched.setattr(watched.journal, "append", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched.scan()
    assert watched.scan() == items(0, 10)


def test_it_works_with_the_journal_on_disk(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    def payloads(journal: Journal) -> list[bytes]:
        found: list[RawRecord] = journal.read(0, 100)
        return [payload for record in found for payload in record.payloads]

    journal = Journal(tmp_path / "journal", "logs.files")
    watched = Watched(tmp_path / "in", journal=journal)
    watched.write("a.log", lines(0, 10))
    watched.watch.scan_once(watched.now_us)
    journal.close()
    journal = Journal(tmp_path / "journal", "logs.files")
    watched = Watched(tmp_path / "in", journal=journal)
    watched.write("a.log", lines(10, 12))
    watched.watch.scan_once(watched.now_us)
    assert payloads(journal) == items(0, 12)
    journal.close()


class Rotated(Watched):
    """A program that writes, and a log rotation of one of three kinds."""

    written = 0
    kept = 3
    short = False

    def log_lines(self, count: int) -> None:
        self.write("a.log", self.lines(count))
        self.written += count

    def lines(self, count: int) -> bytes:
        """The next ones."""
        return lines(self.written, self.written + count, short=self.short)

    def make_room(self) -> None:
        for k in range(self.kept, 0, -1):
            for suffix in ("", ".gz"):
                path = self.folder / f"a.log.{k}{suffix}"
                if path.exists():
                    path.unlink() if k == self.kept else path.rename(self.folder / f"a.log.{k + 1}{suffix}")

    def rename(self) -> None:
        self.make_room()
        (self.folder / "a.log").rename(self.folder / "a.log.1")
        self.write("a.log", b"")

    def copy_and_truncate(self) -> None:
        self.make_room()
        shutil.copy(self.folder / "a.log", self.folder / "a.log.1")
        os.truncate(self.folder / "a.log", 0)

    def pack(self) -> None:
        path = self.folder / "a.log.1"
        if path.exists():
            with gzip.open(self.folder / "a.log.1.gz", "wb") as packed:
                packed.write(path.read_bytes())
            path.unlink()


@given(
    st.booleans(),
    st.lists(
        st.sampled_from(["log", "log", "scan", "steady", "rename", "copy", "pack", "restart", "full", "partial"]),
        max_size=40,
    ),
)
@settings(max_examples=150)
def test_every_line_is_read_once_whatever_rotation_crash_or_full_disk_does(short: bool, steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        watched = Rotated(Path(folder))
        watched.short = short
        watched.write("a.log", b"")
        unscanned_rotations = 0
        for step in steps:
            if step == "log":
                watched.log_lines(1 if short else 12)
            elif step == "partial":
                line = watched.lines(1)
                watched.write("a.log", line[:20])
                watched.scan()
                watched.write("a.log", line[20:])
                watched.written += 1
            elif step in ("scan", "steady"):
                watched.scan(STEADY_AFTER_US if step == "steady" else SECOND_US)
                unscanned_rotations = 0
            elif step in ("rename", "copy") and unscanned_rotations < 2:
                # Lines that rotate out of the folder unseen are lost to any reader.
                watched.scan(STEADY_AFTER_US)
                watched.scan(STEADY_AFTER_US)
                watched.log_lines(1 if short else 5)
                watched.rename() if step == "rename" else watched.copy_and_truncate()
                unscanned_rotations += 1
            elif step == "pack":
                watched.pack()
            elif step == "restart":
                watched.restart()
            elif step == "full":
                watched.journal.fail_after = 0
                watched.log_lines(3)
                with pytest.raises(JournalFull):
                    watched.scan()
        for _ in range(3):
            watched.scan(STEADY_AFTER_US)
        assert sorted(watched.journal.payloads) == lines(0, watched.written, short=short).splitlines()
        assert watched.watch.at_end
        watched.watch.close()
