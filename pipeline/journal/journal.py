"""The journal: the durable raw log of one partition (one source of one stream) in the local runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec

from pipeline.errors import JournalError, KeyReused
from pipeline.instants import DAY_US
from pipeline.journal.memory import JournalMemory, body_digest
from pipeline.journal.reader import JournalReader
from pipeline.journal.segment import Entry, Segment, read_head
from pipeline.journal.writer import JournalWriter
from pipeline.records import Form, RawRecord, encode

#: A segment ends after this span of received time, so that retention can remove a quiet partition too.
SEGMENT_SPAN_US = DAY_US


class Journal:
    """Appends items and control records, and reads them back. Safe for any number of threads.

    Delivery: what an append returned for is on the disk and is read by every later `read`, whatever crashes.
    An append that raised, or that a crash cut short, is either wholly in the log or not at all.
    Ordering: positions count entries from 0 without holes, in the order of the log.
    Idempotence: an append with a `key` that is among the last `remember_keys` keys returns the range that the
    key had and appends nothing, across restarts too; without a key, each append is new.
    Raises: JournalFull when the disk is full (nothing was accepted, and a later append works once there is
    space), JournalDamaged when a stored byte is not what was written, JournalError otherwise. After an error of the
    disk the next append opens the files anew, so one that passed is over.
    """

    def __init__(
        self,
        folder: Path,
        partition: str,
        *,
        segment_bytes: int = 64 * 2**20,
        remember_keys: int = 100_000,
    ) -> None:
        """Open or create the journal of `partition`, in its own folder within `folder`."""
        own = journal_folder(folder, partition)
        self.partition = partition
        self._segment_bytes = segment_bytes
        self._remember_keys = remember_keys
        self._closed = False
        self._memory = JournalMemory(partition, remember_keys)
        self._writer = JournalWriter(own, self._memory)
        self._end = self._memory.end
        self._reader = JournalReader(lambda: self._writer.segments)
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[_Append] = []
        self._callbacks: list[Callable[[], None]] = []

    @property
    def start(self) -> int:
        """The first position that can be read."""
        return self._writer.segments[0].first

    @property
    def end(self) -> int:
        """The position after the last durable entry."""
        return self._end

    @property
    def accepted(self) -> int:
        """Items ever appended; restarts and pruning do not change it."""
        return self._memory.accepted

    @property
    def marks(self) -> dict[str, str]:
        """The marks that stand now."""
        with self._write_lock:
            return dict(self._memory.marks)

    @property
    def last_definition(self) -> str:
        """The definition in the last "define" record, "" when there is none."""
        return self._memory.definition

    def append(
        self,
        *,
        payloads: Sequence[bytes],
        form: Form,
        source: str,
        received_us: int,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        marks: Mapping[str, str] | None = None,
        note: str = "",
    ) -> tuple[int, int]:
        """Append items and return their positions `[start, end)` once they are durable.

        `ids`: one brought id for each payload (empty: none). `key`: an idempotency key. `marks`: strings stored
        with the items, all or nothing; the last value of a name wins, an empty one removes it; without payloads
        only the marks are stored. Threads that append at once share one sync.
        Raises KeyReused when the key was used for other payloads, JournalFull, JournalError.
        """
        if ids is not None and len(ids) != len(payloads):
            raise ValueError(f"{len(ids)} ids for {len(payloads)} payloads")
        record = RawRecord(
            position=0,
            received_us=received_us,
            form=form,
            source=source,
            payloads=list(payloads),
            ids=list(ids) if ids is not None else None,
            note=note,
        )
        digest = body_digest(form, record.payloads) if key else b""
        return self._append(Entry(record, key or "", digest, dict(marks or {})))

    def append_control(
        self,
        kind: Literal["heartbeat", "leave", "define"],
        *,
        received_us: int,
        time_us: int = 0,
        note: str = "",
    ) -> tuple[int, int]:
        """Append a control record and return its positions `[start, start + 1)` once it is durable.

        Raises JournalFull, JournalError.
        """
        return self._append(Entry(RawRecord(0, received_us, kind=kind, time_us=time_us, note=note)))

    def read(self, position: int, max_items: int) -> list[RawRecord]:
        """Durable records from `position` on, at most `max_items` entries (fewer when they are large), cut where
        they begin before or end after; [] at the end.

        Raises JournalError when `position` is before the start or beyond the end of the log.
        """
        end = self._end
        if not self.start <= position <= end:
            raise JournalError(
                f"partition {self.partition} holds the positions {self.start} to {end}, not {position}: its "
                "journal and what was made of it do not belong together; restore both, or start a new data folder"
            )
        with self._read_lock:
            return self._reader.read(position, end, max_items)

    def prune(self, before_position: int, older_than_us: int) -> int:
        """Remove the segments whose entries are all before `before_position` and were all received before the
        instant `older_than_us`; return how many. Raises JournalFull, JournalError."""
        with self._write_lock:
            self._check_open()
            segments = self._writer.segments
            last = segments[-1]
            newest_us = self._memory.newest_us
            if newest_us is not None and newest_us < older_than_us and last.first < self._end <= before_position:
                self._writer.roll()
                segments = self._writer.segments
            gone: list[Segment] = []
            for segment, following in pairwise(segments):
                if following.first > before_position or _newest_us(segment, following) >= older_than_us:
                    break
                gone.append(segment)
            if gone:
                self._writer.remove(gone)
            return len(gone)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each durable append, on the thread that appended; it must not raise or wait."""
        self._callbacks.append(callback)

    def close(self) -> None:
        """Let the files go; appends raise from then on."""
        with self._write_lock, self._read_lock:
            self._closed = True
            self._writer.close()
            self._reader.close()

    def _append(self, entry: Entry) -> tuple[int, int]:
        try:
            encode(entry)  # what cannot be encoded must fail alone, not with all that share its sync
        except (UnicodeEncodeError, OverflowError) as error:
            raise JournalError(f"the journal cannot store this: {error}") from error
        mine = _Append(entry)
        with self._queue_lock:
            self._queue.append(mine)
        # Who gets the lock first appends for all that queued meanwhile; the others find their outcome.
        with self._write_lock:
            leading = mine.outcome is None
            if leading:
                self._commit()
        if leading:
            for callback in self._callbacks:
                callback()
        if isinstance(mine.outcome, JournalError):
            raise mine.outcome
        assert mine.outcome is not None
        return mine.outcome

    def _commit(self) -> None:
        """Append what is queued with one sync, and give each its outcome."""
        with self._queue_lock:
            batch, self._queue = self._queue, []
        try:
            self._check_open()
            self._roll_if_due(batch)
            entries = self._place(batch)
            if entries:
                self._writer.write(entries)
                self._end = self._memory.end
        except JournalError as error:
            for append in batch:
                append.outcome = append.outcome or error
        except BaseException:
            for append in batch:
                append.outcome = append.outcome or JournalError("the append was interrupted")
            raise
        else:
            for append in batch:
                append.outcome = append.outcome or append.result

    def _place(self, batch: list[_Append]) -> list[Entry]:
        """The entries to write, at their positions. Each append gets the result that holds once they are
        durable; what is in the log already gets its outcome."""
        entries: list[Entry] = []
        staged: dict[str, tuple[int, int, bytes]] = {}
        end = self._memory.end
        for append in batch:
            entry = append.entry
            if known := self._memory.lookup(entry.key):
                append.outcome = known[:2] if known[2] == entry.digest else KeyReused()
            elif same := staged.get(entry.key):
                append.result = same[:2] if same[2] == entry.digest else KeyReused()
            else:
                record = msgspec.structs.replace(entry.record, position=end)
                append.result = (end, record.end)
                if entry.key:
                    staged[entry.key] = (end, record.end, entry.digest)
                if entry.key or entry.marks or end < record.end:
                    entries.append(msgspec.structs.replace(entry, record=record))
                end = record.end
        return entries

    def _roll_if_due(self, batch: list[_Append]) -> None:
        segment, oldest_us = self._writer.segments[-1], self._memory.oldest_us
        if oldest_us is None or self._memory.end == segment.first:
            return  # a segment is named by its first position: an empty one cannot be followed by another
        newest_us = max(append.entry.record.received_us for append in batch)
        if segment.size >= self._segment_bytes or newest_us - oldest_us >= SEGMENT_SPAN_US:
            self._writer.roll()

    def _check_open(self) -> None:
        """Open the files anew when an error has closed them. Raises JournalError."""
        if self._closed:
            raise JournalError(f"the journal of {self.partition} is closed; open it again")
        if self._writer.closed:
            self._writer.drop_unacknowledged()
            memory = JournalMemory(self.partition, self._remember_keys)
            writer = JournalWriter(self._writer.folder, memory)
            with self._read_lock:
                self._reader.close()  # it knows the segments of before
                self._memory, self._writer = memory, writer
                self._end = memory.end


class _Append:
    """One call that waits for its place in the log."""

    __slots__ = ("entry", "outcome", "result")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.result: tuple[int, int] | JournalError | None = None
        self.outcome: tuple[int, int] | JournalError | None = None


def journal_folder(folder: Path, partition: str) -> Path:
    """The folder of a partition's journal within `folder`. Raises JournalError for a name that cannot be one."""
    name = quote(partition, safe=" ").replace(".", "%2E")
    if not name or len(name) > 200:
        raise JournalError(f"{partition!r} cannot name a partition; use 1 to 200 letters and digits")
    return folder / name


def _newest_us(segment: Segment, following: Segment) -> int:
    """The latest received time in a segment that has ended."""
    if segment.newest_us is None:
        segment.newest_us = read_head(following).previous_newest_us
    return segment.newest_us
