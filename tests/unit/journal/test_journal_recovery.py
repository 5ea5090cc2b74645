"""What is in the journal after a crash: all that was acknowledged, and nothing that is not whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import JournalDamaged, JournalError, UnknownRecord
from pipeline.journal.journal import Journal
from pipeline.journal.segment import Entry, frame
from pipeline.records import RawRecord


def append(journal: Journal, payloads: list[bytes], **more: Any) -> tuple[int, int]:
    return journal.append(payloads=payloads, form="json", source="s", received_us=1, **more)


def contents(journal: Journal, position: int | None = None) -> list[bytes]:
    found: list[bytes] = []
    position = journal.start if position is None else position
    while records := journal.read(position, 3):
        found += [payload for record in records for payload in record.payloads]
        position = records[-1].end
    return found


def last_file(folder: Path) -> Path:
    return max(folder.glob("*/*.log"))


BATCH = st.lists(st.binary(max_size=30), max_size=4)
STEP = st.tuples(
    st.sampled_from(["append", "append", "append", "crash", "reopen"]),
    BATCH,
    st.sampled_from([None, None, "k1", "k2", "k3"]),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "1", "2"]), max_size=2),
    st.floats(0, 1),
    st.booleans(),
)


@settings(max_examples=80)
@given(st.lists(STEP, max_size=25), st.integers(1, 400))
def test_after_crashes_the_log_holds_what_was_acknowledged_and_no_part_of_a_record(
    steps: list[tuple[str, list[bytes], str | None, dict[str, str], float, bool]], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(folder, "p", segment_bytes=segment_bytes)
        items: list[bytes] = []
        keys: dict[str, tuple[tuple[int, int], list[bytes]]] = {}
        marks: dict[str, str] = {}

        def note(payloads: list[bytes], key: str | None, changes: dict[str, str]) -> None:
            if key:
                keys[key] = ((len(items), len(items) + len(payloads)), payloads)
            items.extend(payloads)
            marks.update(changes)
            for mark in [mark for mark, value in marks.items() if not value]:
                del marks[mark]

        for kind, payloads, key, changes, cut, garbage in steps:
            if key and key in keys:
                payloads = keys[key][1]
            if kind == "append":
                place = append(journal, payloads, key=key, marks=changes)
                if key and key in keys:
                    assert place == keys[key][0]
                else:
                    assert place == (len(items), len(items) + len(payloads))
                    note(payloads, key, changes)
            elif kind == "reopen":
                journal.close()
                journal = Journal(folder, "p", segment_bytes=segment_bytes)
            else:
                # An append whose caller heard nothing: any part of what it wrote may have reached the disk.
                before = {path.name: path.stat().st_size for path in folder.glob("*/*.log")}
                mark = (folder / "p" / "durable").read_bytes()
                append(journal, payloads, key=key, marks=changes)
                end = journal.end
                journal.close()
                path = last_file(folder)
                size = path.stat().st_size
                if path.name in before:
                    least = before[path.name]
                    kept = least + round(cut * (size - least))
                    os.truncate(path, kept)
                    if garbage and kept < size:
                        with path.open("ab") as file:
                            file.write(bytes(size - kept))
                    (folder / "p" / "durable").write_bytes(mark)
                    whole = kept == size
                else:
                    whole = True
                journal = Journal(folder, "p", segment_bytes=segment_bytes)
                if whole and key not in keys:
                    assert journal.end == end
                    note(payloads, key, changes)
            assert journal.end == journal.accepted == len(items)
            assert journal.marks == marks
        assert contents(journal) == items
        for key, (place, payloads) in keys.items():
            assert append(journal, payloads, key=key) == place
        journal.close()


def crashed(folder: Path) -> Path:
    """A journal of three appends in one segment; its file."""
    journal = Journal(folder, "p")
    for n in range(3):
        append(journal, [b"item %d" % n])
    journal.close()
    return last_file(folder)


def test_any_changed_byte_of_what_was_acknowledged_is_an_error_that_names_file_and_offset(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    sound = path.read_bytes()
    for offset in range(len(sound)):
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 0x41]) + sound[offset + 1 :])
        with pytest.raises(JournalDamaged, match=path.name) as caught:
            Journal(tmp_path, "p")
        assert caught.value.offset <= offset
        assert path.stat().st_size == len(sound)


def test_damage_in_an_earlier_segment_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    for n in range(3):
        append(journal, [b"item %d" % n])
    journal.close()
    path = sorted((tmp_path / "p").glob("*.log"))[1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    journal = Journal(tmp_path, "p")
    assert [record.payloads for record in journal.read(0, 1)] == [[b"item 0"]]
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=path.name):
            journal.read(1, 1)
    assert [record.payloads for record in journal.read(2, 1)] == [[b"item 2"]]


def test_a_missing_segment_is_an_error_and_no_jump(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    for n in range(3):
        append(journal, [b"item %d" % n])
    journal.close()
    paths = sorted((tmp_path / "p").glob("*.log"))
    paths[1].unlink()
    with pytest.raises(JournalDamaged, match="entry 1 is missing"):
        contents(Journal(tmp_path, "p"))


def test_a_missing_last_segment_is_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p", segment_bytes=1)
    for n in range(3):
        append(journal, [b"item %d" % n])
    journal.close()
    last_file(tmp_path).unlink()
    with pytest.raises(JournalDamaged, match="missing"):
        Journal(tmp_path, "p")


def test_acknowledged_bytes_that_are_cut_off_are_an_error(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    whole = path.stat().st_size
    frame_bytes = len(frame(Entry(RawRecord(2, 1, source="s", payloads=[b"item 2"]))))
    for size in (whole - 1, whole - frame_bytes, 10, 0):
        os.truncate(path, size)
        with pytest.raises(JournalDamaged):
            Journal(tmp_path, "p")


def test_a_torn_tail_is_gone_from_the_file_after_opening(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(frame(Entry(RawRecord(3, 1, payloads=[b"torn"])))[:-1])
    journal = Journal(tmp_path, "p")
    assert path.stat().st_size == size
    assert journal.end == 3


def test_an_entry_that_does_not_follow_is_an_error(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    with path.open("ab") as file:
        file.write(frame(Entry(RawRecord(4, 1, payloads=[b"after a hole"]))))
    with pytest.raises(JournalDamaged, match="entry 3 is missing"):
        Journal(tmp_path, "p")
    journal = Journal(tmp_path, "q", segment_bytes=1)
    with (tmp_path / "q" / f"{0:020d}.log").open("ab") as file:
        written = file.write(frame(Entry(RawRecord(4, 1, payloads=[b"after a hole"]))))
    journal._writer.segments[0].size += written
    with pytest.raises(JournalDamaged, match="entry 0 is missing"):
        journal._reader.read(0, 1, 1)


def test_a_lost_durable_mark_loses_no_entry(tmp_path: Path) -> None:
    crashed(tmp_path)
    (tmp_path / "p" / "durable").unlink()
    assert contents(Journal(tmp_path, "p")) == [b"item 0", b"item 1", b"item 2"]


def test_a_half_made_segment_is_forgotten(tmp_path: Path) -> None:
    crashed(tmp_path)
    leftover = tmp_path / "p" / f"{3:020d}.new"
    leftover.write_bytes(b"half")
    journal = Journal(tmp_path, "p")
    assert append(journal, [b"more"]) == (3, 4)
    assert not leftover.exists()


def test_a_record_of_an_unknown_format_stops_the_journal_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "p")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.records.FORMAT", 2)
        append(journal, [b"from the future"])
    journal.close()
    size = last_file(tmp_path).stat().st_size
    (tmp_path / "p" / "durable").unlink()
    with pytest.raises(UnknownRecord, match="newer Tocsin"):
        Journal(tmp_path, "p")
    assert last_file(tmp_path).stat().st_size == size


def test_the_folder_of_another_partition_is_refused(tmp_path: Path) -> None:
    crashed(tmp_path)
    (tmp_path / "p").rename(tmp_path / "q")
    with pytest.raises(JournalError, match="journal of 'p', not of 'q'"):
        Journal(tmp_path, "q")


WRITER = """
import sys, threading
from pathlib import Path
from pipeline.journal.journal import Journal

journal = Journal(Path(sys.argv[1]), "p", segment_bytes=20_000)
lock = threading.Lock()

def write(name):
    for n in range(10**9):
        text = f"{name}-{n}"
        start, end = journal.append(
            payloads=[text.encode()] * 3, form="line", source="s", received_us=1, key=text, marks={str(name): str(n)}
        )
        with lock:
            print(start, text, flush=True)

for name in range(2):
    threading.Thread(target=write, args=(name,)).start()
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed_while_it_appends(tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for target in (20, 300, 700):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            while len(acknowledged) < target:
                start, text = process.stdout.readline().split()
                acknowledged[int(start)] = text
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
        for line in rest.splitlines(keepends=True):
            if line.endswith("\n"):
                start, text = line.split()
                acknowledged[int(start)] = text
        journal = Journal(tmp_path, "p", segment_bytes=20_000)
        found = contents(journal)
        assert len(found) == journal.accepted == journal.end
        for place, said in acknowledged.items():
            assert found[place : place + 3] == [said.encode()] * 3
        # Beyond what was acknowledged: at most the appends of two threads, whole ones.
        unacknowledged = len(found) // 3 - len(set(acknowledged))
        assert len(found) % 3 == 0
        assert 0 <= unacknowledged <= 2 * 3
        for name in ("0", "1"):
            latest = [item for item in found if item.startswith(f"{name}-".encode())]
            if latest:
                assert journal.marks[name].encode() == latest[-1].split(b"-")[1]
        journal.close()
