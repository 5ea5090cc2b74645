"""What the journal promises its callers."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import JournalError, JournalFull, KeyReused
from pipeline.instants import DAY_US
from pipeline.journal.journal import Journal


def append(journal: Journal, *texts: str, received_us: int = 1, **more: object) -> tuple[int, int]:
    payloads = [text.encode() for text in texts]
    return journal.append(payloads=payloads, form="line", source="s", received_us=received_us, **more)  # type: ignore[arg-type]


def texts(journal: Journal, position: int = 0, max_items: int = 10_000) -> list[str]:
    """Every text from a position on, read to the end; checks that no position is left out."""
    found: list[str] = []
    while records := journal.read(position, max_items):
        for record in records:
            assert record.position == position
            position = record.end
            found += [payload.decode() for payload in record.payloads]
    assert position == journal.end
    return found


def test_appended_items_are_read_back_with_all_they_came_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "logs/push")
    assert append(journal, "a", "b", received_us=7, ids=["1", ""], note="n") == (0, 2)
    [record] = journal.read(0, 10)
    assert (record.payloads, record.ids, record.received_us) == ([b"a", b"b"], ["1", ""], 7)
    assert (record.form, record.source, record.note, record.kind) == ("line", "s", "n", "items")


def test_a_read_cuts_records_at_both_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, *"abcde", ids=list("12345"))
    append(journal, *"fgh")
    first, *more = journal.read(2, 2)
    assert (first.position, first.payloads, first.ids, more) == (2, [b"c", b"d"], ["3", "4"], [])
    assert [(r.position, r.payloads) for r in journal.read(4, 3)] == [(4, [b"e"]), (5, [b"f", b"g"])]
    assert journal.read(8, 10) == []


def test_control_records_take_one_position_and_count_no_item(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    assert journal.append_control("define", received_us=1, note="{}") == (0, 1)
    append(journal, "a")
    assert journal.append_control("heartbeat", received_us=3, time_us=2) == (2, 3)
    assert journal.append_control("leave", received_us=4) == (3, 4)
    assert [(r.kind, r.position, r.time_us) for r in journal.read(2, 9)] == [("heartbeat", 2, 2), ("leave", 3, 0)]
    assert (journal.accepted, journal.end, journal.last_definition) == (1, 4, "{}")


@pytest.mark.parametrize("position", [-1, 4])
def test_a_read_outside_the_log_is_an_error_and_no_jump(tmp_path: Path, position: int) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, *"abc")
    with pytest.raises(JournalError, match="positions 0 to 3"):
        journal.read(position, 1)


def test_reads_in_any_order_and_across_segments_agree(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=200)
    expected = [f"item {n}" for n in range(200)]
    for n in range(0, 200, 4):
        append(journal, *expected[n : n + 4])
    assert len(list((tmp_path / "p").glob("*.log"))) > 5
    for position in (0, 199, 3, 150, 149, 151, 20, 20, 100, 0, 198):
        assert texts(journal, position, 7) == expected[position:]


def test_a_repeated_key_returns_its_range_and_appends_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "before")
    first = append(journal, "a", "b", key="k")
    assert append(journal, "a", "b", key="k", received_us=99) == first == (1, 3)
    journal.close()
    journal = Journal(tmp_path, "p")
    assert append(journal, "a", "b", key="k") == first
    assert (journal.end, journal.accepted) == (3, 3)


def test_a_key_used_again_for_another_body_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "a", "b", key="k")
    for other in (["ab"], ["a"], ["a", "b", ""]):
        with pytest.raises(KeyReused):
            append(journal, *other, key="k")
    assert journal.end == 2


def test_only_the_last_keys_are_remembered(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", remember_keys=2, segment_bytes=1)
    for key in ("1", "2", "3"):
        append(journal, key, key=key)
    journal.close()
    journal = Journal(tmp_path, "p", remember_keys=2)
    assert append(journal, "2", key="2") == (1, 2)
    assert append(journal, "1", key="1") == (3, 4)


def test_marks_are_stored_with_their_items_and_an_empty_one_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    append(journal, "x", marks={"a": "1", "b": "1"})
    append(journal, marks={"a": "2"})
    append(journal, "y", marks={"b": ""})
    assert journal.marks == {"a": "2"}
    journal.close()
    journal = Journal(tmp_path, "p")
    assert journal.marks == {"a": "2"}
    assert texts(journal) == ["x", "y"]


def test_counters_and_definition_survive_restarts_and_pruning(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    journal.append_control("define", received_us=1, note="one")
    for n in range(5):
        append(journal, str(n), received_us=n)
    assert journal.prune(4, 100) == 4
    journal.close()
    journal = Journal(tmp_path, "p")
    assert (journal.start, journal.end, journal.accepted, journal.last_definition) == (4, 6, 5, "one")
    assert texts(journal, 4) == ["3", "4"]
    with pytest.raises(JournalError, match="positions 4 to 6"):
        journal.read(3, 1)


@pytest.mark.parametrize(("before", "older", "start"), [(10, 3, 2), (2, 10, 2), (3, 10, 3), (0, 10, 0), (10, 0, 0)])
def test_pruning_removes_only_what_is_before_both_limits(tmp_path: Path, before: int, older: int, start: int) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    for received_us in (1, 2, 3, 4):
        append(journal, "x", received_us=received_us)
    journal.close()
    journal = Journal(tmp_path, "p", segment_bytes=1)
    journal.prune(before, older)
    assert journal.start == start
    assert len(texts(journal, start)) == 4 - start


def test_a_quiet_partition_is_pruned_to_nothing_and_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, *"abc", key="k")
    assert journal.prune(3, 2) == 1
    assert (journal.start, journal.end, journal.read(3, 1)) == (3, 3, [])
    assert journal.prune(3, 2) == 0
    assert append(journal, *"abc", key="k") == (0, 3)
    assert append(journal, "d") == (3, 4)
    assert not any(b"abc" in path.read_bytes() for path in (tmp_path / "p").iterdir())


def test_a_segment_ends_after_a_day_so_that_retention_can_remove_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    for day in range(5):
        append(journal, str(day), received_us=day * DAY_US)
    journal.prune(5, 3 * DAY_US)
    assert texts(journal, journal.start) == ["3", "4"]


def fail_writes(monkeypatch: pytest.MonkeyPatch, number: int, after_bytes: int) -> None:
    real = os.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if offset == 0 and len(data) == 20:  # the durable mark
            return real(fd, data, offset)
        if offset >= limit:
            raise OSError(number, os.strerror(number))
        return real(fd, data[: limit - offset], offset)

    limit = after_bytes
    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_accepts_nothing_and_later_appends_work_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "a")
    [path] = (tmp_path / "p").glob("*.log")
    size = path.stat().st_size
    with monkeypatch.context() as patch:
        fail_writes(patch, number, size + 20)
        with pytest.raises(JournalFull):
            append(journal, "b" * 100, key="k", marks={"m": "1"})
        assert path.stat().st_size == size
    assert (journal.marks, journal.end, texts(journal)) == ({}, 1, ["a"])
    assert append(journal, "c", key="k") == (1, 2)
    journal.close()
    assert texts(Journal(tmp_path, "p")) == ["a", "c"]


def test_a_full_disk_at_a_new_segment_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    append(journal, "a")
    with monkeypatch.context() as patch:
        fail_writes(patch, errno.ENOSPC, 5)
        with pytest.raises(JournalFull):
            append(journal, "b")
    assert append(journal, "c") == (1, 2)
    assert texts(journal) == ["a", "c"]


def test_a_disk_error_that_passes_is_over_with_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "a", marks={"m": "1"}, key="k")
    with monkeypatch.context() as patch:
        fail_writes(patch, errno.EIO, 0)
        for _ in range(3):
            with pytest.raises(JournalError, match="Input/output error"):
                append(journal, "b", key="l")
            assert texts(journal) == ["a"]  # what is there can be read all the time
    assert append(journal, "b", key="l") == (1, 2)
    assert append(journal, "a", key="k") == (0, 1)
    assert (texts(journal), journal.marks, journal.accepted) == (["a", "b"], {"m": "1"}, 2)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        append(journal, "c")
    assert texts(Journal(tmp_path, "p")) == ["a", "b"]


def test_what_a_failed_sync_left_behind_is_not_taken_for_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "a")
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr("pipeline.journal.writer._sync", fail)
        patch.setattr("os.ftruncate", fail)
        with pytest.raises(JournalError):
            append(journal, "b")  # whole in the file, and perhaps not on the disk
    assert append(journal, "c") == (1, 2)
    assert texts(journal) == ["a", "c"]


def test_a_new_segment_of_which_it_is_not_known_whether_it_is_there_makes_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "p")
    append(journal, "a")
    with monkeypatch.context() as patch:
        disk = FailingDisk([False] * 4 + [True])  # open, write, sync, rename, sync of the folder
        patch.setattr("pipeline.journal.writer.os", disk)
        with pytest.raises(JournalError, match="Input/output error"):
            append(journal, "b", received_us=2 * DAY_US)
    assert len(list((tmp_path / "p").glob("*.log"))) == 2
    assert append(journal, "c") == (1, 2)  # of the first day again: no new segment is due
    journal.close()
    assert texts(Journal(tmp_path, "p")) == ["a", "c"]


class FailingDisk:
    """The calls of `os` that reach the disk; each fails where the plan says so."""

    def __init__(self, plan: list[bool]) -> None:
        self._plan = iter(plan)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("pwrite", "pread", "fsync", "ftruncate", "truncate", "rename", "open"):
            return real

        def call(*args: Any, **more: Any) -> Any:
            if next(self._plan, False):
                raise OSError(errno.EIO, "Input/output error")
            if name == "pwrite" and len(args[1]) > 30 and next(self._plan, False):
                real(args[0], args[1][:25], args[2])
                raise OSError(errno.EIO, "Input/output error")
            return real(*args, **more)

        return call


@settings(max_examples=150)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 400))
def test_whatever_fails_the_log_holds_what_was_acknowledged_and_nothing_else(
    plan: list[bool], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        journal = Journal(folder, "p", segment_bytes=segment_bytes)
        disk = FailingDisk(plan)
        patch.setattr("pipeline.journal.writer.os", disk)
        patch.setattr("pipeline.journal.writer._sync", disk.fsync)
        stored: list[str] = []
        for n in range(20):
            try:
                place = append(journal, f"item {n}", key=f"k{n}")
            except JournalError:
                pass
            else:
                assert place == (len(stored), len(stored) + 1)
                stored.append(f"item {n}")
            assert texts(journal) == stored
        patch.undo()
        append(journal, "last")
        journal.close()
        journal = Journal(folder, "p", segment_bytes=segment_bytes)
        assert texts(journal) == [*stored, "last"]
        journal.close()


def test_threads_that_append_at_once_share_a_sync_and_get_distinct_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "p")
    syncs: list[int] = []
    monkeypatch.setattr("pipeline.journal.writer._sync", syncs.append)
    ranges: list[tuple[int, int]] = []
    threads = [
        threading.Thread(target=lambda n=n: ranges.append(append(journal, *[str(n)] * (n + 1)))) for n in range(8)
    ]
    with journal._write_lock:
        for thread in threads:
            thread.start()
        while len(journal._queue) < 8:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    assert len(syncs) == 1
    assert sorted(ranges)[0][0] == 0
    found = texts(journal)
    assert len(found) == 36
    assert all(len(set(found[start:end])) == 1 for start, end in ranges)


def test_one_key_from_many_threads_is_appended_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    ranges: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: ranges.append(append(journal, "a", "b", key="k"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (set(ranges), journal.accepted) == ({(0, 2)}, 2)


def test_subscribers_hear_of_an_append_once_it_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    heard: list[int] = []
    journal.subscribe(lambda: heard.append(len(texts(journal))))
    append(journal, "a")
    append(journal, "b", "c")
    assert heard == [1, 3]


def test_what_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    with pytest.raises(JournalError, match="cannot store"):
        append(journal, "a", ids=["\ud800"])
    with pytest.raises(JournalError, match="cannot store"):
        append(journal, "a", received_us=2**80)
    assert append(journal, "b") == (0, 1)


def test_a_journal_is_open_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    with pytest.raises(JournalError, match="another process"):
        Journal(tmp_path, "p")
    journal.close()
    Journal(tmp_path, "p")


@pytest.mark.parametrize("name", ["a/b", "..", "ü", "CON:", "a b"])
def test_any_partition_name_stays_within_the_folder(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path / "j", name)
    append(journal, "x")
    assert len(list((tmp_path / "j").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    append(Journal(tmp_path, "p"), "x")
    assert all(path.stat().st_mode & 0o77 == 0 for path in (tmp_path / "p").rglob("*"))
    assert (tmp_path / "p").stat().st_mode & 0o77 == 0


def test_a_large_read_comes_in_parts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p")
    for _ in range(5):
        append(journal, "x" * 5 * 2**20)
    assert len(journal.read(0, 100)) == 4
    assert len(texts(journal)) == 5
