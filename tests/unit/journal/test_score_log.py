"""The score log: durable up to its mark, rewound to it, damaged frames named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import JournalError
from pipeline.instants import DAY_US
from pipeline.journal.score_log import ScoreLog
from pipeline.records import ScoreSlice, Signal, SignalSlice


def scored(position: int, *ids: str) -> ScoreSlice:
    signals = [Signal(position + i, id, 0, 0, False, "text", "web") for i, id in enumerate(ids)]
    slice = SignalSlice("s", "d", "s/p", position, position + 10, False, 0, [0], signals, 0, [])
    return ScoreSlice(slice, "m", [0.5] * len(ids), ["other"] * len(ids))


def starts(log: ScoreLog) -> list[int]:
    return [one.slice.start for one in log.read()]


def opened(folder: Path, mark: str = "", **settings: int) -> ScoreLog:
    log = ScoreLog(folder, **settings)
    log.rewind(mark)
    return log


def test_what_was_recorded_is_read_back_in_order(tmp_path: Path) -> None:
    log = opened(tmp_path)
    made = [scored(n * 10, f"i{n}") for n in range(5)]
    for one in made:
        log.append(one)
    log.sync()
    assert list(log.read()) == made
    log.close()


@pytest.mark.parametrize("segment_bytes", [1, 200, 10**6])
def test_a_rewind_drops_what_came_after_the_mark_and_goes_on_there(tmp_path: Path, segment_bytes: int) -> None:
    log = opened(tmp_path, segment_bytes=segment_bytes)
    log.append(scored(0))
    log.append(scored(10))
    mark = log.sync()
    for position in (20, 30, 40):
        log.append(scored(position))
    log.sync()
    log.close()
    log = opened(tmp_path, mark, segment_bytes=segment_bytes)
    assert starts(log) == [0, 10]
    log.append(scored(20))
    assert log.sync() != mark
    assert starts(log) == [0, 10, 20]
    log.close()


def test_without_a_mark_everything_is_dropped(tmp_path: Path) -> None:
    log = opened(tmp_path)
    assert log.sync() == ""
    log.append(scored(0))
    log.sync()
    log.close()
    assert starts(opened(tmp_path)) == []


def test_a_torn_frame_after_the_mark_is_dropped(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(scored(0))
    mark = log.sync()
    log.close()
    (segment,) = log.segments()
    with segment.open("ab") as file:
        file.write(b"\x99\x00\x00")
    log = opened(tmp_path, mark)
    assert starts(log) == [0]
    log.close()


def test_a_log_shorter_than_its_checkpoint_says_what_to_restore(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(scored(0))
    mark = log.sync()
    log.close()
    (segment,) = log.segments()
    os.truncate(segment, 5)
    with pytest.raises(JournalError, match="restore the scores folder from the same backup"):
        opened(tmp_path, mark)
    segment.unlink()
    with pytest.raises(JournalError, match=r"is missing where the checkpoint says.*restore the scores folder"):
        opened(tmp_path, mark)


def test_a_log_that_does_not_reach_its_mark_is_left_as_it_is(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=1)
    log.append(scored(0))
    mark = log.sync()
    log.append(scored(10))
    log.append(scored(20))
    log.sync()
    log.close()
    first, *later = log.segments()
    first.unlink()
    with pytest.raises(JournalError):
        opened(tmp_path, mark)
    assert log.segments() == later


@pytest.mark.parametrize("at", [0, 5, 20, -1])
def test_a_damaged_frame_is_named_with_file_and_offset(tmp_path: Path, at: int) -> None:
    log = opened(tmp_path)
    log.append(scored(0, "a"))
    first = int(log.sync().partition(":")[2])
    log.append(scored(10, "b"))
    log.sync()
    log.close()
    (segment,) = log.segments()
    data = bytearray(segment.read_bytes())
    data[first + at if at >= 0 else len(data) - 1] ^= 0x40
    segment.write_bytes(data)
    with pytest.raises(JournalError, match=rf"{segment.name} is damaged at byte {first}"):
        list(log.read())


def test_recent_ids_are_the_last_that_items_brought(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=150)
    for n in range(9):
        log.append(scored(n * 10, f"i{n}", "", f"j{n}"))
    log.sync()
    assert len(log.segments()) > 2
    assert log.recent_ids(5) == ["j6", "i7", "j7", "i8", "j8"]
    assert len(log.recent_ids(100)) == 18
    assert log.recent_ids(0) == []
    log.close()


def test_old_segments_are_pruned_whole_and_the_newest_stays(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=1)
    for n in range(4):
        log.append(scored(n * 10))
    log.sync()
    for n, segment in enumerate(log.segments()):
        os.utime(segment, (1000 + n, 1000 + n))
    assert log.prune(20, older_than_s=5000, keep_ids=9) == 1  # that of [0, 10): the mark at 20 may be in [10, 20)
    assert starts(log) == [10, 20, 30]
    assert log.prune(1000, older_than_s=1001, keep_ids=9) == 0  # not old enough
    assert log.prune(1000, older_than_s=5000, keep_ids=9) == 2
    assert starts(log) == [30]
    log.close()


SLICES = st.lists(st.lists(st.booleans(), max_size=3), min_size=1, max_size=12)


@settings(max_examples=100)
@given(SLICES, st.integers(1, 500), st.integers(0, 12), st.integers(0, 8), st.booleans())
def test_what_is_pruned_is_not_missed_by_a_restart_from_the_checkpoint(
    slices: list[list[bool]], segment_bytes: int, stored: int, remembered: int, counted: bool
) -> None:
    stored = min(stored, len(slices))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = opened(folder, segment_bytes=segment_bytes)
        mark = ""
        for n, brought in enumerate(slices):
            log.append(scored(n * 10, *(f"{n}/{i}" if one else "" for i, one in enumerate(brought))))
            if n + 1 == stored:
                mark = log.sync()
        log.sync()
        log.close()
        if not counted:  # as an earlier version left them
            for beside in folder.glob("*.ids"):
                beside.unlink()
        ids = [f"{n}/{i}" for n, brought in enumerate(slices[:stored]) for i, one in enumerate(brought) if one]
        for segment in log.segments():
            os.utime(segment, (1000, 1000))
        ScoreLog(folder).prune(stored * 10, older_than_s=5000, keep_ids=remembered)
        log = opened(folder, mark, segment_bytes=segment_bytes)
        assert log.recent_ids(remembered) == (ids[-remembered:] if remembered else [])
        log.append(scored(stored * 10, "next"))
        log.sync()
        assert log.recent_ids(1) == ["next"]
        log.close()


def test_segments_without_ids_are_pruned_although_nothing_newer_has_any(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=1)
    for n in range(4):
        log.append(scored(n * 10, ""))
    log.sync()
    for segment in log.segments():
        os.utime(segment, (1000, 1000))
    assert log.prune(40, older_than_s=5000, keep_ids=100) == 3
    log.close()


@pytest.mark.parametrize("counted", [True, False])
def test_a_restart_reads_no_segment_that_is_known_to_hold_no_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    log = opened(tmp_path, segment_bytes=1)
    for n in range(5):
        log.append(scored(n * 10, "i" if n == 1 else ""))
    mark = log.sync()
    log.close()
    if not counted:
        for beside in tmp_path.glob("*.ids"):
            beside.unlink()
        log = opened(tmp_path, mark)
        assert log.recent_ids(10) == ["i"]  # it reads them all, once
        log.close()
    read: list[str] = []
    plain = ScoreLog._read
    monkeypatch.setattr(ScoreLog, "_read", lambda log, path: (read.append(path.stem), plain(log, path))[1])
    log = opened(tmp_path, mark)
    assert log.recent_ids(10) == ["i"]
    log.close()
    assert [int(name) for name in read] == [40, 10]  # the newest may have grown


def test_a_count_of_another_size_of_its_segment_is_not_believed(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=10**6)
    log.append(scored(0, "a"))
    mark = log.sync()
    log.append(scored(10, "b"))
    log.sync()
    log.close()
    (segment,) = log.segments()
    segment.with_name(f"{segment.name}.ids").write_text(f"0 {segment.stat().st_size}")
    log = opened(tmp_path, mark)
    log.append(scored(10, "b"))
    log.sync()
    assert log.recent_ids(10) == ["a", "b"]
    log.close()
    segment.with_name(f"{segment.name}.ids").write_text("0 7")
    assert log.recent_ids(10) == ["a", "b"]


def test_a_segment_ends_with_its_day_also_across_restarts(tmp_path: Path) -> None:
    now_us = 20_000 * DAY_US
    log = ScoreLog(tmp_path, clock=lambda: now_us)
    log.rewind("")
    log.append(scored(0))
    log.append(scored(10))
    mark = log.sync()
    assert len(log.segments()) == 1
    log.close()
    os.utime(log.segments()[0], (now_us / 1e6, now_us / 1e6))
    now_us += DAY_US
    log = ScoreLog(tmp_path, clock=lambda: now_us)
    log.rewind(mark)
    log.append(scored(20))
    assert len(log.segments()) == 2
    now_us += DAY_US
    log.append(scored(30))
    log.sync()
    assert len(log.segments()) == 3
    assert starts(log) == [0, 10, 20, 30]
    log.close()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        log = opened(tmp_path / "scores" / "s" / "p", segment_bytes=1)
        log.append(scored(0, "a"))
        log.append(scored(10, "b"))
        log.sync()
    finally:
        os.umask(before)
    log.close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "scores", *tmp_path.glob("scores/**/*")]}
    assert {mode for name, mode in modes.items() if "." not in name} == {0o700}
    assert {mode for name, mode in modes.items() if "." in name} == {0o600}
    assert len(modes) == 3 + 3
