"""Files that appear whole: written beside their place under another name, made durable, renamed.

A file that was begun and not finished is named `.NAME.tmp`; it is nobody's content, and is written over by the next
one of that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ArchiveError


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raises ArchiveError for what the disk or Parquet says."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ArchiveError(
            f"{path}: {why}; nothing that was archived is lost: mend it, then call the same command again"
        ) from error


def write_table(path: Path, table: pa.Table) -> None:
    """A Parquet file; durable when this returns. Raises ArchiveError."""
    _write(path, lambda file: pq.write_table(table, file, compression="zstd"))


def write_bytes(path: Path, content: bytes) -> None:
    """A file of some bytes; durable when this returns. Raises ArchiveError."""
    _write(path, lambda file: file.write(content))


def rename(old: Path, new: Path) -> None:
    """Durable when this returns. Raises ArchiveError."""
    with file_errors(new):
        os.replace(old, new)
        _sync_folder(new.parent)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file. Raises ArchiveError."""
    with file_errors(path), pq.ParquetFile(path) as file:
        return file.read(columns=columns)


def make_folder(path: Path) -> None:
    """A folder and those above it, durable; the first that is made can be used by its owner alone. Raises
    ArchiveError."""
    with file_errors(path):
        missing = [one for one in (path, *path.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700 if one is missing[-1] else 0o777, exist_ok=True)
            _sync_folder(one.parent)


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.tmp")
    with file_errors(path), open(beside, "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    rename(beside, path)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
