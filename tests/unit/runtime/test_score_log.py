"""The score log: durable up to its mark, rewound to it, damaged frames named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import JournalError
from pipeline.records import ScoreSlice, Signal, SignalSlice
from pipeline.runtime.score_log import ScoreLog


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
    with pytest.raises(JournalError, match="restore the scores folder"):
        opened(tmp_path, mark)


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
    assert log.prune(before_position=20, older_than_s=5000) == 2  # those that hold [0, 10) and [10, 20)
    assert starts(log) == [20, 30]
    assert log.prune(before_position=1000, older_than_s=1002) == 0  # not old enough
    assert log.prune(before_position=1000, older_than_s=5000) == 1
    assert starts(log) == [30]
    log.close()
