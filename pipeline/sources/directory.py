"""What stands in a watched directory right now."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import SourceError
from pipeline.sources.files import OpenFile, is_rotated

_UNFINISHED = (".tmp", ".part", ".partial", ".swp", "~")


class Entry(NamedTuple):
    """A regular file: any change of its size or times may be a change of what it holds."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def order(self) -> tuple[int, bool, str]:
        """By last change; of those changed at once, the one that was put aside goes first."""
        return self.mtime_ns, not is_rotated(self.name), self.name


def entries_of(folder: Path, follow: Callable[[str, str], bool]) -> dict[str, Entry]:
    """The files in `folder` for which `follow(mark, name)` holds, by mark, in the order to read them.

    A mark names the file itself (device and inode), whatever it is called; of several names of one file the
    first is taken. Raises SourceError when the folder cannot be listed.
    """
    present: dict[str, Entry] = {}
    try:
        with os.scandir(folder) as listed:
            for each in sorted(listed, key=lambda entry: entry.name):
                try:
                    found = each.stat()
                except OSError:
                    continue  # deleted meanwhile, or a link to nothing
                mark = mark_of(found)
                if stat.S_ISREG(found.st_mode) and follow(mark, each.name):
                    present.setdefault(mark, Entry(each.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot list {folder}: {error}") from error
    return dict(sorted(present.items(), key=lambda item: item[1].order))


def mark_of(found: os.stat_result) -> str:
    """The name of a file's mark."""
    return f"file/{found.st_dev:x}-{found.st_ino:x}"


def open_entry(folder: Path, entry: Entry, mark: str) -> OpenFile | None:
    """The file, opened; None when its name means another one by now. Raises SourceError."""
    file = OpenFile(folder / entry.name)
    if mark_of(file.stat()) == mark:
        return file
    file.close()
    return None


def is_unfinished(name: str) -> bool:
    """Whether a name says: hidden, or still being written."""
    return name.startswith(".") or name.endswith(_UNFINISHED)
