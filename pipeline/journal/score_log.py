"""The score log: scored slices of one raw partition on disk, as they were recorded.

Guarantees. What lies before a mark that `sync` returned survives any crash. `rewind(mark)` drops what was written
after it, so that a restart from a checkpoint records each slice once. Frames carry a checksum; a damaged one
raises JournalError naming file and offset. Only their owner can read folders and files, whatever the umask.

A segment ends when it is large, or with its day. Beside one that has ended lies `<segment>.ids`: how many ids items
brought in it, and its size. It only saves reading: without it, or with another size, the segment is read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from pipeline.clock import now_us
from pipeline.errors import JournalError
from pipeline.instants import DAY_US
from pipeline.records import ScoreSlice, decode, encode

_HEAD_BYTES = 8
_SEGMENT_BYTES = 64 * 2**20


class ScoreLog:
    """The segments of one partition, named by the position of their first slice."""

    def __init__(self, folder: Path, *, segment_bytes: int = _SEGMENT_BYTES, clock: Callable[[], int] = now_us) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._file: BinaryIO | None = None
        self._name = ""
        self._day = 0
        self._ids: int | None = 0  # brought in the segment that is written; None when that is not known

    def segments(self) -> list[Path]:
        """The segment files, oldest first."""
        return sorted(self.folder.glob("*.scores"))

    def rewind(self, mark: str) -> None:
        """Drop everything after `mark`, or everything when it is empty; go on writing there.

        Raises JournalError, and drops nothing, when the log does not reach `mark`.
        """
        self.close()
        name, _, offset = mark.partition(":")
        if name:
            self._check_holds(self.folder / name, int(offset))
        _make_private(self.folder)
        for segment in self.segments():
            if segment.name > name:
                _ids_file(segment).unlink(missing_ok=True)
                segment.unlink()
        if name:
            _ids_file(self.folder / name).unlink(missing_ok=True)
            self._open(name)
            self._ids = None
            os.truncate(self.folder / name, int(offset))

    def append(self, scored: ScoreSlice) -> None:
        """Write a slice; it is durable after the next `sync`."""
        day = self._clock() // DAY_US
        if self._file is None or (
            (written := self._file.tell()) and (written >= self._segment_bytes or day != self._day)
        ):
            self._roll(scored.slice.start)
        assert self._file is not None
        self._day = day
        if self._ids is not None:
            self._ids += sum(1 for signal in scored.slice.signals if signal.id)
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
        found: list[list[str]] = []
        missing = limit
        segments = self.segments()
        for segment in reversed(segments):
            if missing <= 0:
                break
            if _counted_ids(segment) == 0:
                continue
            here = [s.id for scored in self._read(segment) for s in scored.slice.signals if s.id]
            if segment is not segments[-1]:
                _note_ids(segment, len(here))
            found.append(here)
            missing -= len(here)
        ids = [id for here in reversed(found) for id in here]
        return ids[-limit:] if limit else []

    def prune(self, position: int, older_than_s: float, *, keep_ids: int) -> int:
        """Remove the oldest whole segments; the number removed. `position` is that of the last stored checkpoint.

        What is removed was last written before an instant (seconds since 1970), and neither holds the checkpoint's
        mark nor any of the last `keep_ids` brought ids before it: a restart needs them.
        """
        segments = self.segments()
        # A mark may stand at the end of the segment before the one that begins at its position.
        ended = [one for one, following in pairwise(segments) if int(following.stem) < position]
        old = [one for one in ended if one.stat().st_mtime < older_than_s]
        removed = 0
        for n, segment in enumerate(old):
            if segment is not ended[n] or (self._brought(segment) and not self._hold(ended[n + 1 :], keep_ids)):
                break
            segment.unlink()
            _ids_file(segment).unlink(missing_ok=True)
            removed += 1
        return removed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_holds(self, path: Path, offset: int) -> None:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            what = f"{path} is missing where the checkpoint says that it holds {offset} bytes"
        else:
            what = f"{path} is {size} bytes long where the checkpoint says {offset}"
            if size >= offset:
                return
        raise JournalError(f"{what}; restore the scores folder from the same backup as the database")

    def _brought(self, segment: Path) -> int:
        """How many ids items brought in a segment that has ended."""
        count = _counted_ids(segment)
        if count is None:
            count = sum(1 for scored in self._read(segment) for signal in scored.slice.signals if signal.id)
            _note_ids(segment, count)
        return count

    def _hold(self, segments: list[Path], ids: int) -> bool:
        """Whether so many ids were brought in these segments."""
        for segment in reversed(segments):
            if ids <= 0:
                break
            ids -= self._brought(segment)
        return ids <= 0

    def _roll(self, position: int) -> None:
        if self._file is not None:
            self.sync()
            self.close()
            if self._ids is not None:
                _note_ids(self.folder / self._name, self._ids)
        self._ids = 0
        self._open(f"{position:020d}.scores")
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _open(self, name: str) -> None:
        self._name = name
        self._file = open(  # noqa: SIM115  kept open until it is full
            self.folder / name, "ab", buffering=2**20, opener=_private
        )
        self._day = os.fstat(self._file.fileno()).st_mtime_ns // 1000 // DAY_US

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


def _ids_file(segment: Path) -> Path:
    return segment.with_name(f"{segment.name}.ids")


def _counted_ids(segment: Path) -> int | None:
    """How many ids items brought in a segment, if that was written beside it."""
    try:
        count, size = _ids_file(segment).read_text("ascii").split()
        return int(count) if int(size) == segment.stat().st_size else None
    except (OSError, ValueError):
        return None


def _note_ids(segment: Path, count: int) -> None:
    try:
        with open(_ids_file(segment), "w", encoding="ascii", opener=_private) as file:
            file.write(f"{count} {segment.stat().st_size}")
    except OSError:
        pass  # the segment is read instead


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner can read."""
    fd = os.open(path, flags, 0o600)
    os.fchmod(fd, 0o600)
    return fd


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner can use, and those above it that do not exist."""
    for one in reversed([folder, *(above for above in folder.parents if not above.exists())]):
        one.mkdir(mode=0o700, exist_ok=True)
        one.chmod(0o700)
