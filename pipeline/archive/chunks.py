"""Chunks: what of the score log is archived, and the step by which a chunk of it becomes part of the archive.

A chunk is planned before anything of it is written: a file says its number and which range of which partition it
covers. Its tables have names made of that number, so whoever was killed in between writes the same content under the
same names. It is committed when its plan is renamed; positions are those of the last chunk, so they and the files
cannot part.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipeline.archive.files import file_errors, make_folder, rename, write_bytes
from pipeline.errors import ArchiveError

FORMAT = 1


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What one chunk covers: `[start, end)` of partitions of the score log. `positions` are those of all partitions
    after it. `hole` says that what lay before it was lost."""

    format: int = FORMAT
    number: int
    topic: str
    topic_id: str
    ranges: dict[int, tuple[int, int]]
    positions: dict[int, int]
    hole: bool = False


class Chunks:
    """The chunks of an archive, in `commits/` of its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "commits"

    def head(self) -> Chunk | None:
        """The last chunk that is part of the archive. Raises ArchiveError."""
        newest = max(self._folder.glob("*.json"), default=None)
        return None if newest is None else _read(newest)

    def planned(self) -> Chunk | None:
        """The chunk that was begun and is not part of the archive yet. Raises ArchiveError."""
        plan = max(self._folder.glob("*.plan"), default=None)
        return None if plan is None else _read(plan)

    def plan(self, chunk: Chunk) -> None:
        """Begin a chunk, the only one. Raises ArchiveError."""
        write_bytes(self._path(chunk.number, "plan"), msgspec.json.encode(chunk))

    def commit(self, chunk: Chunk) -> None:
        """All its tables are durable: make it part of the archive. Raises ArchiveError."""
        rename(self._path(chunk.number, "plan"), self._path(chunk.number, "json"))

    def give_up(self, chunk: Chunk) -> None:
        """Forget a plan. Raises ArchiveError."""
        with file_errors(self._folder):
            self._path(chunk.number, "plan").unlink(missing_ok=True)

    def _path(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:08d}.{kind}"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only one that writes an archive; the lock ends with the process. Raises ArchiveError."""
    make_folder(folder)
    path = folder / ".lock"
    with file_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise ArchiveError(
                f"another `tocsin archive` (process {holder}) writes {folder}; one is enough: let it end, or stop it"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _read(path: Path) -> Chunk:
    with file_errors(path):
        content = path.read_bytes()
    try:
        chunk = msgspec.json.decode(content, type=Chunk)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{path} is damaged: {error}; restore it from a backup") from None
    if chunk.format != FORMAT:
        raise ArchiveError(
            f"{path} has the format {chunk.format} where this program knows {FORMAT}; run the newer Tocsin that "
            "wrote it"
        )
    return chunk
