"""The score log: scored slices of one raw partition on disk, as they were recorded.

Guarantees. What lies before a mark that `sync` returned survives any crash. `rewind(mark)` drops what was written
after it, so that a restart from a checkpoint records each slice once. Frames carry a checksum; a damaged one
raises JournalError naming file and offset.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import JournalError
from pipeline.records import ScoreSlice, decode, encode

_HEAD_BYTES = 8
_SEGMENT_BYTES = 64 * 2**20


class ScoreLog:
    """The segments of one partition, named by the position of their first slice."""

    def __init__(self, folder: Path, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._file: BinaryIO | None = None
        self._name = ""
        folder.mkdir(parents=True, exist_ok=True)

    def segments(self) -> list[Path]:
        """The segment files, oldest first."""
        return sorted(self.folder.glob("*.scores"))

    def rewind(self, mark: str) -> None:
        """Drop everything after `mark`, or everything when it is empty; go on writing there."""
        self.close()
        name, _, offset = mark.partition(":")
        for segment in self.segments():
            if segment.name > name:
                segment.unlink()
        if name:
            path = self.folder / name
            size = path.stat().st_size if path.exists() else -1
            if size < int(offset):
                raise JournalError(
                    f"{path} is {size} bytes long where the checkpoint says {offset}; restore the scores folder "
                    "from the same backup as the database"
                )
            self._open(name)
            os.truncate(path, int(offset))

    def append(self, scored: ScoreSlice) -> None:
        """Write a slice; it is durable after the next `sync`."""
        if self._file is None or self._file.tell() >= self._segment_bytes:
            self._roll(scored.slice.start)
        assert self._file is not None
        body = encode(scored)
        self._file.write(len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little"))
        self._file.write(body)

    def sync(self) -> str:
        """Make everything written durable; the mark of its end (empty when nothing has ever been written)."""
        if self._file is None:
            return ""
        self._file.flush()
        os.fdatasync(self._file.fileno())
        return f"{self._name}:{self._file.tell()}"

    def read(self) -> Iterator[ScoreSlice]:
        """Every recorded slice, oldest first. Raises JournalError for a damaged frame."""
        for segment in self.segments():
            yield from self._read(segment)

    def recent_ids(self, limit: int) -> list[str]:
        """The last `limit` ids that items brought, oldest first: what ingest remembers."""
        found: list[str] = []
        for segment in reversed(self.segments()):
            here = [s.id for scored in self._read(segment) for s in scored.slice.signals if s.id]
            found = here + found
            if len(found) >= limit:
                break
        return found[-limit:] if limit else []

    def prune(self, before_position: int, older_than_s: float) -> int:
        """Remove whole segments that end before a position and were last written before an instant (seconds since
        1970); the number removed. The newest stays."""
        segments = self.segments()
        removed = 0
        for segment, following in pairwise(segments):
            if int(following.stem) > before_position or segment.stat().st_mtime >= older_than_s:
                break
            segment.unlink()
            removed += 1
        return removed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _roll(self, position: int) -> None:
        if self._file is not None:
            self.sync()
            self.close()
        self._open(f"{position:020d}.scores")
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _open(self, name: str) -> None:
        self._name = name
        self._file = open(self.folder / name, "ab", buffering=2**20)  # noqa: SIM115  kept open until it is full

    def _read(self, path: Path) -> Iterator[ScoreSlice]:
        with open(path, "rb", buffering=2**20) as file:
            offset = 0
            while head := file.read(_HEAD_BYTES):
                length = int.from_bytes(head[:4], "little")
                body = file.read(length)
                if (len(head), len(body)) != (_HEAD_BYTES, length) or zlib.crc32(body) != int.from_bytes(
                    head[4:], "little"
                ):
                    raise JournalError(f"{path} is damaged at byte {offset}; restore it from a backup")
                yield decode(body, ScoreSlice)
                offset += _HEAD_BYTES + len(body)
