"""The files of a journal: segments of framed records.

A segment is named by the position of its first entry. It is a row of frames, `[length u32][crc32 u32][body]`,
little endian, where the CRC is that of the body. The first frame is a `Head`: what the journal remembered when
the segment began, so that only the last segment is read when a journal opens. Every other frame is an `Entry`.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.errors import JournalDamaged, JournalError
from pipeline.records import RawRecord, decode, encode

SUFFIX = ".log"
#: How much is read from a segment at once, and how far apart the places are that `Segment.index` knows.
CHUNK_BYTES = 2**20

_header = struct.Struct("<II")


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first frame of a segment: what all earlier segments say together.

    `accepted` counts the items ever appended; `previous_newest_us` is the latest received time of the segment
    before; `keys` are idempotency keys, oldest first, as (key, start, end, digest of the payloads).
    """

    partition: str
    first: int
    accepted: int
    previous_newest_us: int
    definition: str
    marks: dict[str, str]
    keys: list[tuple[str, int, int, bytes]]


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A raw record with what must be stored with it, in one frame: its idempotency key and its marks."""

    record: RawRecord
    key: str = ""
    digest: bytes = b""
    marks: dict[str, str] = {}


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `size` counts its durable bytes: what a reader may see. `newest_us` is the latest received time
    in it, None while nobody asked. `index` holds some (position, offset) of frames that were read, ascending."""

    path: Path
    first: int
    size: int
    newest_us: int | None = None
    index: list[tuple[int, int]] = field(default_factory=list)


def segment_path(folder: Path, first: int) -> Path:
    """Where the segment is that begins at this position."""
    return folder / f"{first:020d}{SUFFIX}"


def find_segments(folder: Path) -> list[Segment]:
    """The segments in a folder, in order of position; no file is opened."""
    paths = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
    return [Segment(path, int(path.stem), path.stat().st_size) for path in paths]


def frame(record: Head | Entry) -> bytes:
    """A record as it stands in a segment."""
    body = encode(record)
    return _header.pack(len(body), zlib.crc32(body)) + body


def read_head(segment: Segment) -> Head:
    """The head of a segment. Raises JournalError, UnknownRecord."""
    with Frames(segment.path) as frames:
        body = frames.next(segment.size)
    if body is None:
        raise JournalDamaged(path=segment.path, offset=0, why="the file is empty")
    return decode(body, Head)


class Frames:
    """Reads the frames of one segment one after another, each checked against its CRC."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        #: Where the next frame begins.
        self.offset = offset
        self._buffer = memoryview(b"")
        self._buffer_at = 0
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError(f"the journal cannot read {path}: {error.strerror}") from error

    def next(self, limit: int) -> memoryview | None:
        """The body of the next frame, None at `limit` (the durable end of the file, in bytes).

        Raises JournalDamaged when there is no whole, sound frame before `limit`; the place is
        then unchanged. Raises JournalError when the file cannot be read.
        """
        if self.offset == limit:
            return None
        length, crc = _header.unpack(self._bytes(self.offset, _header.size, limit))
        body = self._bytes(self.offset + _header.size, length, limit)
        # A region of zeros would pass as empty frames: their CRC is 0.
        if not length or zlib.crc32(body) != crc:
            raise JournalDamaged(path=self.path, offset=self.offset, why="its checksum is wrong")
        self.offset += _header.size + length
        return body

    def _bytes(self, offset: int, count: int, limit: int) -> memoryview:
        if offset + count > limit:
            raise JournalDamaged(path=self.path, offset=self.offset, why="it is cut off")
        start = offset - self._buffer_at
        if start < 0 or start + count > len(self._buffer):
            try:
                data = os.pread(self._fd, min(max(count, CHUNK_BYTES), limit - offset), offset)
            except OSError as error:
                raise JournalError(f"the journal cannot read {self.path}: {error.strerror}") from error
            if len(data) < count:
                raise JournalDamaged(path=self.path, offset=self.offset, why="the file is shorter than it was")
            self._buffer, self._buffer_at, start = memoryview(data), offset, 0
        return self._buffer[start : start + count]

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
