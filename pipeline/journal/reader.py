"""Reading a journal: one place that moves forward, and seeks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import msgspec

from pipeline.errors import JournalDamaged
from pipeline.journal.segment import CHUNK_BYTES, Entry, Frames, Head, Segment
from pipeline.records import RawRecord, decode

#: A read ends early once its payloads are this large, so that large items do not fill the memory.
READ_BYTES = 16 * 2**20


class JournalReader:
    """Records from any position; fastest when each read goes on where the last one ended.

    `segments` gives the segments of the moment, in order. Not for several threads at once.
    """

    def __init__(self, segments: Callable[[], tuple[Segment, ...]]) -> None:
        self._segments = segments
        self._segment: Segment | None = None
        self._frames: Frames | None = None
        self._next = 0  # the position of the frame that `_frames` stands at
        self._last: RawRecord | None = None

    def read(self, position: int, end: int, max_items: int) -> list[RawRecord]:
        """Records that cover `[position, x)`, x at most `end`: at most `max_items` entries, and fewer when they
        are large. Raises JournalError, UnknownRecord."""
        records: list[RawRecord] = []
        stop = min(end, position + max_items)
        size = 0
        while position < stop and size < READ_BYTES:
            record = cut(self._at(position), position, stop)
            records.append(record)
            size += sum(map(len, record.payloads))
            position = record.end
        return records

    def close(self) -> None:
        """Forget the place; the next read seeks."""
        if self._frames is not None:
            self._frames.close()
        self._segment = self._frames = self._last = None

    def _at(self, position: int) -> RawRecord:
        """The record that holds the entry at `position`."""
        last = self._last
        if last is not None and last.position <= position < last.end:
            return last
        if self._frames is None or position != self._next:
            self._seek(position)
        while True:
            record = self._advance()
            if position < record.end:
                self._last = record
                return record

    def _seek(self, position: int) -> None:
        segments = self._segments()
        segment = segments[bisect_right(segments, position, key=lambda s: s.first) - 1]
        known = bisect_right(segment.index, position, key=lambda place: place[0]) - 1
        before, offset = segment.index[known] if known >= 0 else (segment.first, 0)
        if segment is self._segment and before <= self._next < position:
            return  # going on from here is nearer
        self._open(segment, before, offset)

    def _open(self, segment: Segment, position: int, offset: int) -> None:
        self.close()
        frames = Frames(segment.path, offset)
        self._segment, self._frames, self._next = segment, frames, position
        if offset == 0:
            try:
                head = frames.next(segment.size)
                if head is None or decode(head, Head).first != segment.first:
                    raise JournalDamaged(path=segment.path, offset=0, why="it does not begin as its name says")
            except BaseException:
                self.close()
                raise

    def _advance(self) -> RawRecord:
        """The next record; goes over to the next segment at the end of this one."""
        while True:
            segment, frames = self._segment, self._frames
            assert segment is not None
            assert frames is not None
            offset = frames.offset
            body = frames.next(segment.size)
            if body is None:
                self._open(self._following(segment), self._next, 0)
                continue
            record = decode(body, Entry).record
            if record.position != self._next:
                raise JournalDamaged(path=segment.path, offset=offset, why=f"entry {self._next} is missing")
            if not segment.index or offset - segment.index[-1][1] >= CHUNK_BYTES:
                segment.index.append((record.position, offset))
            self._next = record.end
            return record

    def _following(self, segment: Segment) -> Segment:
        for other in self._segments():
            if other.first == self._next and other is not segment:
                return other
        raise JournalDamaged(path=segment.path, offset=segment.size, why=f"entry {self._next} is missing")


def cut(record: RawRecord, start: int, stop: int) -> RawRecord:
    """The entries of a record from position `start` to before `stop`."""
    if record.kind != "items" or (start <= record.position and record.end <= stop):
        return record
    part = slice(max(start - record.position, 0), stop - record.position)
    return msgspec.structs.replace(
        record,
        position=max(start, record.position),
        payloads=record.payloads[part],
        ids=record.ids[part] if record.ids is not None else None,
    )
