"""Bytes that flow in: standard input, a pipe or a file; unpacked when they are gzip, in constant memory."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path
from types import TracebackType

from pipeline.errors import SourceError
from pipeline.sources.files import BLOCK_BYTES, as_text
from pipeline.sources.gunzip import MAGIC, Gunzip

#: What standard input is called on the command line.
STDIN = Path("-")


class Inflow:
    """Reads once, from the beginning to the end. Raises SourceError when it cannot be opened or read."""

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if path == STDIN else as_text(str(path))
        try:
            self._fd = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            state = os.fstat(self._fd)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open {self.name}: {_reason(error)}") from error
        self._owned = path != STDIN
        self._size = state.st_size if stat.S_ISREG(state.st_mode) else None
        self._head = b""
        self._gunzip: Gunzip | None = None

    def __enter__(self) -> Inflow:
        while len(self._head) < len(MAGIC) and (more := self._stored(BLOCK_BYTES)):
            self._head += more
        self._gunzip = Gunzip(self._read) if self._head.startswith(MAGIC) else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._owned:
            os.close(self._fd)

    def read(self) -> bytes:
        """The next bytes, as many as are there, at most 256 KiB; none at the end. It waits for the first."""
        return self._gunzip.read(BLOCK_BYTES) if self._gunzip else self._read(BLOCK_BYTES)

    def waits(self, patience_s: float) -> bool:
        """Whether nothing more comes within so many seconds; never so for a file."""
        return self._size is None and not self._head and not select.select([self._fd], [], [], patience_s)[0]

    @property
    def damage(self) -> str:
        """What is wrong with gzip, from where on nothing can be read; "" while nothing is."""
        return self._gunzip.damage if self._gunzip else ""

    @property
    def part_read(self) -> float | None:
        """How much of a file has been read, from 0 to 1; None for what has no known size."""
        if self._size is None:
            return None
        return min(1.0, os.lseek(self._fd, 0, os.SEEK_CUR) / max(1, self._size))

    def _read(self, size: int) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        return head or self._stored(size)

    def _stored(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except OSError as error:
            raise SourceError(f"cannot read {self.name}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
