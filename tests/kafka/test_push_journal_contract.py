"""What the push API may expect of a journal, whichever it is: files on a disk, or a partition of a raw topic."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError

from pipeline.errors import JournalError, KeyReused
from pipeline.journal.journal import Journal
from pipeline.kafka.health import Health
from pipeline.kafka.journal import KafkaJournal
from pipeline.kafka.metrics import WorkerMetrics
from pipeline.kafka.names import Names
from pipeline.kafka.push_keys import PushKeys
from pipeline.kafka.raw_transaction import NotWritten, RawTransaction
from pipeline.kafka.raw_writer import RawWriter
from pipeline.kafka.readback import read_back
from pipeline.kafka.wire import raw_records
from pipeline.records import RawRecord
from pipeline.settings import Settings
from pipeline.sources.push import PushJournal
from pipeline.stream_file import StreamFile

STREAMS = """
[streams.logs]
kind = "logs"
tick = "1m"
[[streams.logs.sources]]
kind = "push"
"""
NOW_US = 1_700_000_000_000_000


class Kept(NamedTuple):
    """A journal, what every reader sees of it, and a way to make its next append fail."""

    journal: PushJournal
    records: Callable[[], list[RawRecord]]
    break_next: Callable[[], None]

    def append(self, *payloads: bytes, key: str | None = None) -> tuple[int, int]:
        ids = [f"{key}:{number}" for number in range(len(payloads))] if key else None
        return self.journal.append(
            payloads=list(payloads), form="line", source="web1", received_us=NOW_US, ids=ids, key=key
        )

    def payloads(self) -> list[bytes]:
        return [payload for record in self.records() for payload in record.payloads]


@pytest.fixture(params=["files", "kafka"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    if request.param == "files":
        folder: Path = request.getfixturevalue("tmp_path")
        journal = Journal(folder, "logs/push/0")

        def disk_fails() -> None:
            def write(entries: object) -> None:
                monkeypatch.undo()
                raise JournalError("the disk fails")

            monkeypatch.setattr(journal._writer, "write", write)

        yield Kept(journal, lambda: journal.read(0, 10**6), disk_fails)
        journal.close()
        return
    settings: Settings = request.getfixturevalue("kafka_settings")
    make_topics: Callable[[str], StreamFile] = request.getfixturevalue("make_topics")
    make_topics(STREAMS)
    names = Names.of(settings)
    topic = names.raw("logs", "push")

    def read() -> list[RawRecord]:
        found = raw_records(read_back(settings, topic, 0, 0), position=0, source="push")
        return [record for record in found if record.kind != "hole"]

    def commit_fails() -> None:
        def send(self: RawTransaction) -> None:
            monkeypatch.undo()
            sent(self)
            raise NotWritten(KafkaError(KafkaError.INVALID_RECORD))

        sent = RawTransaction.send
        monkeypatch.setattr(RawTransaction, "send", send)

    metrics = WorkerMetrics()
    with RawWriter(settings, name="api", health=Health("api"), metrics=metrics) as writer:
        yield Kept(KafkaJournal(writer, names, topic, 0, keys=PushKeys(), metrics=metrics), read, commit_fails)


def test_what_an_append_returned_for_is_there_in_its_order_under_its_place(kept: Kept) -> None:
    kept.append(b"first")
    start, end = kept.append(b"a", b"b", b"c")
    assert end == start + 3
    found = [(r.position + i, p) for r in kept.records() for i, p in enumerate(r.payloads)]
    assert found[-3:] == [(start, b"a"), (start + 1, b"b"), (start + 2, b"c")]
    assert {(record.form, record.source, record.ids) for record in kept.records()} == {("line", "web1", None)}
    assert kept.journal.end == end


def test_what_is_appended_later_lies_after_the_end_that_was(kept: Kept) -> None:
    for _ in range(3):
        end = kept.journal.end
        start, _ = kept.append(b"a")
        assert start >= end


def test_items_keep_their_form_sender_ids_and_note(kept: Kept) -> None:
    def append(payload: bytes, form: str, source: str, ids: list[str] | None = None, note: str = "") -> None:
        kept.journal.append(
            payloads=[payload], form=form, source=source, received_us=NOW_US, ids=ids, note=note  # type: ignore[arg-type]
        )  # fmt: skip

    append(b"{}", "json", "push")
    append(b"no brace", "json", "push")
    append(b"{}", "row", "cases.csv", ["7"])
    append(b"{ a line", "line", "push")
    append(b"", "line", "push")
    append(b"half", "broken", "push", None, "it is torn")
    assert [(r.payloads[0], r.form, r.source, r.ids, r.note) for r in kept.records()] == [
        (b"{}", "json", "push", None, ""),
        (b"no brace", "json", "push", None, ""),
        (b"{}", "row", "cases.csv", ["7"], ""),
        (b"{ a line", "line", "push", None, ""),
        (b"", "line", "push", None, ""),
        (b"half", "broken", "push", None, "it is torn"),
    ]


def test_a_heartbeat_is_in_the_log_with_its_time(kept: Kept) -> None:
    start, end = kept.journal.append_control("heartbeat", received_us=NOW_US, time_us=NOW_US - 5)
    (beat,) = kept.records()
    assert (beat.kind, beat.time_us, beat.position, end) == ("heartbeat", NOW_US - 5, start, start + 1)


def test_a_key_that_is_repeated_gets_its_place_and_appends_nothing(kept: Kept) -> None:
    first = kept.append(b"a", b"b", key="k")
    kept.append(b"c")
    end = kept.journal.end
    again = kept.append(b"a", b"b", key="k")
    assert again == first
    assert again[0] < end
    assert kept.payloads() == [b"a", b"b", b"c"]
    assert kept.records()[0].ids == ["k:0", "k:1"]


def test_a_key_with_another_body_is_refused(kept: Kept) -> None:
    kept.append(b"a", key="k")
    with pytest.raises(KeyReused):
        kept.append(b"b", key="k")
    assert kept.payloads() == [b"a"]


def test_of_many_appends_under_one_key_at_once_one_is_stored(kept: Kept) -> None:
    together = threading.Barrier(8)

    def append() -> tuple[int, int]:
        together.wait()
        return kept.append(b"a", b"b", key="k")

    with ThreadPoolExecutor(8) as pool:
        places = {future.result() for future in [pool.submit(append) for _ in range(8)]}
    assert len(places) == 1
    assert kept.payloads() == [b"a", b"b"]


def test_appends_of_many_threads_stay_in_one_piece_each(kept: Kept) -> None:
    def append(number: int) -> tuple[int, int]:
        return kept.append(*(f"{number}-{i}".encode() for i in range(20)))

    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(append, range(40)))
    held = {r.position + i: p for r in kept.records() for i, p in enumerate(r.payloads)}
    for number, (start, end) in enumerate(places):
        assert [held[n] for n in range(start, end)] == [f"{number}-{i}".encode() for i in range(20)]
    assert len(held) == 800


def test_an_append_that_failed_left_nothing_and_the_next_one_works(kept: Kept) -> None:
    kept.append(b"before")
    kept.break_next()
    with pytest.raises(JournalError):
        kept.append(b"a", b"b", key="k")
    kept.append(b"a", b"b", key="k")
    assert kept.payloads() == [b"before", b"a", b"b"]
