"""Opening files: plain or gzip by their first bytes, what they hold, and what their items' source is called."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

from pipeline.errors import SourceError
from pipeline.sources.gunzip import MAGIC, Gunzip

Form = Literal["json", "csv", "line"]

#: Read at once. Small beside the largest item, so that only long lines are looked at twice.
BLOCK_BYTES = 256 * 1024

_ROTATION = re.compile(r"(?:\.\d{1,3}|(?<=\.log)-\d{8})?(?:\.gz)?$", re.IGNORECASE)


class OpenFile:
    """A regular file that is read from its beginning, unpacked when it is gzip, in constant memory.

    Gzip that is cut or damaged ends early: what could be unpacked is read, then `damage` says what happened.
    Raises SourceError when the file cannot be opened or read, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without O_NONBLOCK, opening a pipe that someone put here would wait for ever.
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open {path}: {_reason(error)}") from error
        try:
            if not stat.S_ISREG(self.stat().st_mode):
                raise SourceError(f"{path} is not a regular file; Tocsin reads files, plain or gzip")
            self.packed = self.peek(2, 0) == MAGIC
        except BaseException:
            os.close(self._fd)
            raise
        self._gunzip = Gunzip(self._read)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    @property
    def damage(self) -> str:
        """What is wrong with a packed file, from where on nothing can be read; "" while nothing is."""
        return self._gunzip.damage

    @property
    def stored_bytes_read(self) -> int:
        """How many bytes of the file, as it is stored, have been read."""
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def stat(self) -> os.stat_result:
        """The open file's own state, whatever its name points to by now."""
        return os.fstat(self._fd)

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The next bytes, at most `size`; none at the end. A plain file that has grown reads on."""
        return self._gunzip.read(size) if self.packed else self._read(size)

    def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; fewer when the file ends before."""
        data = b""
        while len(data) < count and (block := self.read(count - len(data))):
            data += block
        return data

    def go_to(self, offset: int) -> None:
        """Read from byte `offset` of the unpacked content next; a packed file is unpacked up to there again."""
        self._gunzip = Gunzip(self._read)
        os.lseek(self._fd, 0 if self.packed else offset, os.SEEK_SET)
        while self.packed and offset > 0 and (block := self.read(min(offset, BLOCK_BYTES))):
            offset -= len(block)

    def peek(self, count: int, offset: int) -> bytes:
        """`count` bytes of the file as it is stored, fewer at its end; what `read` gives next stays the same."""
        try:
            return os.pread(self._fd, count, offset)
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {_reason(error)}") from error

    def _read(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def as_text(name: str) -> str:
    """A file's name as text: bytes of it that are not UTF-8 become `\\xff`, since no record could hold them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def source_name(name: str) -> str:
    """What the items of a file have as their source: its name without `.gz` and a rotation's `.1` or date."""
    return as_text(_ROTATION.sub("", name) or name)


def is_rotated(name: str) -> bool:
    """Whether the name is that of a file that a log rotation put aside."""
    return source_name(name) != as_text(name)


def form_of(path: Path, form: Literal["auto", "json", "csv", "line"], head: bytes) -> Form:
    """How to read a file that begins with `head`: as asked, else by its name, else by its first bytes.

    Raises SourceError for what cannot be read piece by piece: UTF-16, a JSON array, an object over many lines.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{path} is UTF-16; make it UTF-8 first: iconv -f utf-16 -t utf-8")
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    name = source_name(path.name).lower()
    if form == "auto" and name.endswith((".csv", ".tsv")):
        return "csv"
    if form == "json" or (form == "auto" and (name.endswith((".jsonl", ".ndjson", ".json")) or begin[:1] == b"{")):
        first_line = begin.partition(b"\n")[0].strip()
        if first_line in (b"{", b"[") or begin[:1] == b"[":
            what = "a JSON array" if begin[:1] == b"[" else "JSON over many lines"
            raise SourceError(f"{path} is {what}; Tocsin reads one object a line: jq -c '.[]' or jq -c . makes it so")
        return "json"
    return "line" if form == "auto" else form
