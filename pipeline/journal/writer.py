"""The files of a journal as its only writer sees them: recovery, durable appends, new segments."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import structlog

from pipeline.errors import JournalDamaged, JournalError, JournalFull
from pipeline.journal.memory import JournalMemory
from pipeline.journal.segment import (
    Entry,
    Frames,
    Segment,
    find_segments,
    frame,
    read_head,
    segment_path,
)
from pipeline.records import decode

log = structlog.get_logger()

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_sync = getattr(os, "fdatasync", os.fsync)
_mark = struct.Struct("<QQI")


class JournalWriter:
    """Owns the folder of one partition. Not for several threads at once.

    The file `durable` says up to where the last segment was synced, as (first position, bytes, CRC). It is
    written after each sync, never before, and not synced itself: it may lag after a loss of power, it is exact
    after the death of a process. At open, a broken frame before it is damage to what was acknowledged; at or
    after it, it is the torn end of an append that nobody was told of, and is cut off.
    """

    def __init__(self, folder: Path, memory: JournalMemory) -> None:
        self.folder = folder
        self.memory = memory
        #: In order of position; replaced, never changed, so that a reader may keep one.
        self.segments: tuple[Segment, ...] = ()
        self._fd = self._mark_fd = self._folder_fd = -1
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in folder.glob("*.new"):
                leftover.unlink()
            self._mark_fd = os.open(folder / "durable", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.segments = tuple(find_segments(folder))
            if self.segments:
                self._recover(self.segments[-1])
            else:
                self.roll()
        except BlockingIOError:
            self.close()
            raise JournalError(f"the journal in {folder} is open in another process; stop that one") from None
        except OSError as error:
            self.close()
            raise _journal_error(folder, error) from error
        except BaseException:
            self.close()
            raise

    def write(self, entries: list[Entry]) -> None:
        """Make entries durable. Raises JournalFull or JournalError, after which none of them is in the log."""
        segment = self.segments[-1]
        data = b"".join(map(frame, entries))
        try:
            try:
                _write_all(self._fd, data, segment.size)
                _sync(self._fd)
            except OSError as error:
                # Also when the sync failed: what it wrote may be anything.
                os.ftruncate(self._fd, segment.size)
                if error.errno not in _FULL:
                    raise
                raise JournalFull() from error
        except OSError as error:
            self.close()  # what the file holds is not known any more: recovery must look
            raise _journal_error(segment.path, error) from error
        except BaseException as error:
            if not isinstance(error, JournalFull):
                self.close()
            raise
        for entry in entries:
            self.memory.apply(entry)
        segment.size += len(data)
        segment.newest_us = self.memory.newest_us
        self._note_durable()

    def roll(self) -> None:
        """Begin a new segment. It gets its name only when its head is durable."""
        path = segment_path(self.folder, self.memory.end)
        new = path.with_suffix(".new")
        head = self.memory.head()
        data = frame(head)
        fd = -1
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            _write_all(fd, data, 0)
            os.fsync(fd)
            os.rename(new, path)
            os.fsync(self._folder_fd)
        except OSError as error:
            if fd >= 0:
                _close(fd)
            with suppress(OSError):
                new.unlink(missing_ok=True)
            if error.errno not in _FULL:
                self.close()  # whether the segment is there is not known: recovery must look
            raise _journal_error(path, error) from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.memory.begin(head)
        self.segments = (*self.segments, Segment(path, head.first, len(data)))
        self._note_durable()

    def remove(self, segments: list[Segment]) -> None:
        """Delete the oldest segments, in order, so that a crash leaves no hole."""
        try:
            for segment in segments:
                self.segments = self.segments[1:]
                segment.path.unlink(missing_ok=True)
            os.fsync(self._folder_fd)
        except OSError as error:
            raise _journal_error(self.folder, error) from error

    def close(self) -> None:
        """Let the files go. Nothing is written: what was acknowledged is durable already."""
        for fd in (self._fd, self._mark_fd, self._folder_fd):
            if fd >= 0:
                _close(fd)
        self._fd = self._mark_fd = self._folder_fd = -1

    def drop_unacknowledged(self) -> None:
        """Cut off what a write that failed has left, before the files are opened again: after a sync that failed, what
        can be read may still not be on the disk. Raises JournalFull, JournalError."""
        segment = self.segments[-1]
        try:
            if segment.path.stat().st_size > segment.size:
                os.truncate(segment.path, segment.size)
        except OSError as error:
            raise _journal_error(segment.path, error) from error

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def _recover(self, segment: Segment) -> None:
        """Read the last segment into the memory and cut its torn end off."""
        head = read_head(segment)
        if head.partition != self.memory.partition:
            raise JournalError(
                f"{self.folder} holds the journal of {head.partition!r}, not of {self.memory.partition!r}; "
                "give each partition a folder of its own"
            )
        self.memory.begin(head)
        durable = self._durable_bytes(segment)
        self._fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        with Frames(segment.path) as frames:
            frames.next(segment.size)
            while True:
                offset = frames.offset
                try:
                    body = frames.next(segment.size)
                except JournalDamaged:
                    if offset < durable:
                        raise
                    log.warning("journal_tail_cut", path=str(segment.path), offset=offset, lost=segment.size - offset)
                    os.ftruncate(self._fd, offset)
                    segment.size = offset
                    break
                if body is None:
                    break
                entry = decode(body, Entry)
                if entry.record.position != self.memory.end:
                    raise JournalDamaged(path=segment.path, offset=offset, why=f"entry {self.memory.end} is missing")
                self.memory.apply(entry)
        if segment.size < durable:
            raise JournalDamaged(path=segment.path, offset=segment.size, why="acknowledged entries are missing")
        segment.newest_us = self.memory.newest_us
        # Whole entries that nobody was told of stay, so they must be durable before anyone reads them.
        os.fsync(self._fd)
        self._note_durable()

    def _note_durable(self) -> None:
        segment = self.segments[-1]
        place = struct.pack("<QQ", segment.first, segment.size)
        try:
            os.pwrite(self._mark_fd, place + struct.pack("<I", zlib.crc32(place)), 0)
        except OSError as error:  # the entries are durable; only the check at the next open is weaker
            log.warning("journal_mark_not_written", folder=str(self.folder), error=error.strerror)

    def _durable_bytes(self, segment: Segment) -> int:
        """How much of the last segment was surely acknowledged; 0 when unknown."""
        data = os.pread(self._mark_fd, _mark.size, 0)
        if len(data) < _mark.size:
            return 0
        first, size, crc = _mark.unpack(data)
        if zlib.crc32(data[:16]) != crc or first < segment.first:
            return 0
        if first > segment.first:
            missing = segment_path(self.folder, first)
            raise JournalDamaged(path=missing, offset=0, why="the file is missing")
        return int(size)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def _close(fd: int) -> None:
    with suppress(OSError):  # nothing is under way: what was acknowledged is durable already
        os.close(fd)


def _journal_error(path: Path, error: OSError) -> JournalError:
    if error.errno in _FULL:
        return JournalFull()
    return JournalError(f"the journal cannot use {path}: {error.strerror}")
