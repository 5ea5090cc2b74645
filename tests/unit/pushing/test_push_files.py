"""The files of a push: which items they hold, under which ids, in which order."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SourceError
from pipeline.instants import MINUTE_US
from pipeline.pushing import files as push_files
from pipeline.pushing.batch import Run
from pipeline.pushing.files import PushFiles
from pipeline.pushing.times import EventTimes, LastTick
from pipeline.streams import Definition

LOGS = Definition(name="logs", kind="logs", tick_us=MINUTE_US, lateness_us=5_000_000, clock="data", group=("host",))


def runs(*paths: Path, run_items: int = 100, times: EventTimes | None = None, **more: Any) -> list[Run]:
    options = {"form": "auto", "columns": {}, "source": None} | more
    return list(PushFiles(paths, LOGS, **options).open(run_items, times))


def ids(*paths: Path, **more: Any) -> list[str]:
    return [id for run in runs(*paths, **more) for id in run.ids]


def payloads(found: Sequence[Run]) -> list[bytes]:
    return [payload for run in found for payload in run.payloads]


def test_a_file_has_the_same_ids_packed_renamed_by_rotation_and_in_any_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "app.log"
    plain.write_bytes(b"".join(b"line %d\n" % n for n in range(50)))
    packed = tmp_path / "app.log.1.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    whole = ids(plain)
    assert ids(packed) == ids(plain, run_items=7) == whole
    monkeypatch.setattr(push_files, "RUN_BYTES", 20)
    assert ids(plain) == whole
    assert len(set(whole)) == 50


def test_equal_lines_are_items_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("same\n" * 100)
    assert len(set(ids(path))) == 100


def test_a_file_that_has_grown_keeps_the_ids_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("a\nb\n")
    before = ids(path)
    path.write_text("a\nb\nc\n")
    assert ids(path)[:2] == before


def test_a_file_that_was_written_anew_has_other_ids_from_the_first_change_on(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("text,host\na,x\nb,x\nc,x\n")
    before = ids(path)
    path.write_text("text,host\na,x\nB,x\nc,x\n")
    after = ids(path)
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before)


def test_senders_and_files_of_one_name_do_not_share_ids(tmp_path: Path) -> None:
    for host in ("one", "two"):
        (tmp_path / host).mkdir()
        (tmp_path / host / "app.log").write_text("started\n")
    one, two = tmp_path / "one" / "app.log", tmp_path / "two" / "app.log"
    assert len(set(ids(one, two))) == 2
    assert ids(one, source="web1") != ids(one, source="web2")
    assert ids(one, salt="a run of its own") != ids(one)


def test_items_are_sent_by_whom_the_file_is_named_after_or_by_whom_one_says(tmp_path: Path) -> None:
    path = tmp_path / "shop.log.gz"
    path.write_bytes(gzip.compress(b"a\n"))
    assert [run.source for run in runs(path)] == ["shop.log"]
    assert [run.source for run in runs(path, source="web1")] == ["web1"]


def test_what_cannot_be_framed_is_an_item_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("text,host\na,x\nb\nc,x\n")
    assert [(run.form, bool(run.note)) for run in runs(path)] == [("row", False), ("broken", True), ("row", False)]


def test_a_wrong_file_is_refused_before_the_first_item(tmp_path: Path) -> None:
    good, table = tmp_path / "a.log", tmp_path / "b.csv"
    good.write_text("a\n")
    table.write_text("when,what\n1,a\n")
    for paths, columns, said in (
        ((good, tmp_path / "none.log"), {}, "cannot open"),
        ((good, table), {}, "no column"),
        ((good,), {"text": "what"}, "no table"),
    ):
        with pytest.raises(SourceError, match=said):
            PushFiles(paths, LOGS, form="auto", columns=columns, source=None).open(10)


def test_files_come_one_after_the_other_or_side_by_side_in_time(tmp_path: Path) -> None:
    for name, seconds in (("a", (0, 20, 10, 40)), ("b", (5, 15, 30))):
        lines = [json.dumps({"text": f"{name}{s}", "time": f"2026-01-01T00:00:{s:02}Z"}) for s in seconds]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*lines, "not json"]))
    paths = tmp_path / "a.jsonl", tmp_path / "b.jsonl"

    def texts(found: Sequence[Run]) -> list[str]:
        return [json.loads(p)["text"] if p.startswith(b"{") else "?" for p in payloads(found)]

    assert texts(runs(*paths)) == ["a0", "a20", "a10", "a40", "?", "b5", "b15", "b30", "?"]
    timed = runs(*paths, times=EventTimes(LOGS, 2_000_000_000_000_000))
    # What has no time, or an earlier one than the line before it, goes with that line.
    assert texts(timed) == ["a0", "b5", "b15", "a20", "a10", "b30", "?", "a40", "?"]
    assert sorted(id for run in timed for id in run.ids) == sorted(ids(*paths))


def test_the_last_tick_is_closed_by_its_end_and_lateness(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text":"a","time":"2026-01-01T00:03:07Z"}\n{"text":"b","time":"2026-01-01T00:01:00Z"}\nbroken\n')
    last = LastTick(LOGS, EventTimes(LOGS, 2_000_000_000_000_000))
    assert last.closed_by_us() is None
    assert len(payloads(list(last.watched(runs(path))))) == 3
    assert last.closed_by_us() == 1_767_225_600_000_000 + 4 * MINUTE_US + 5_000_000
