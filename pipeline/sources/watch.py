"""A watched directory: files that appear, grow, rotate and go, each item of them once in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import structlog
from msgspec.structs import replace

from pipeline.errors import SourceError
from pipeline.instants import SECOND_US
from pipeline.sources.directory import entries_of, is_unfinished, mark_of
from pipeline.sources.files import source_name
from pipeline.sources.followed import STEADY_AFTER_US, Followed, FollowedFiles
from pipeline.sources.framing import Framed
from pipeline.sources.journal_contract import Journal
from pipeline.sources.tail import Tail
from pipeline.streams import SourceDefinition

log = structlog.get_logger()

#: A last line without its end is taken as it is once its file has not changed for so long.
PARTIAL_AFTER_US = 60 * SECOND_US
#: Read in one scan, so that the caller gets to do something else; the next scan goes on.
SCAN_BYTES = 16 * 2**20
#: Files kept open, so that their last lines can be read after they are deleted.
OPEN_FILES = 128


class DirectoryWatch:
    """Appends what is in the files of one directory, and what is added to them, to the journal of the source.

    Delivery: every complete line, row or JSON line once. Progress is kept in marks of the same append, so that a
    crash or a full disk at any moment neither loses nor repeats an item. A last line without its end waits for
    it, and is taken as it is when the file was deleted or has not changed for a minute. What is written and then
    removed between two scans was never seen.
    Ordering: within a file that of the file; files in the order of their last change, known ones first.
    Idempotence: a file is known by its inode and by the first and last bytes that were read of it. So it may be
    renamed, copied away and truncated (`copytruncate`, if `pattern` takes in the copies), packed, or replaced by
    a longer version of itself. A file whose earlier bytes changed begins again: its lines are new items.
    Raises: JournalFull, JournalError; the next scan tries again. A file that cannot be read is logged and left
    until it changes; while the directory cannot be listed, `at_end` is false. One thread at a time.

    Names that are hidden or unfinished (`.x`, `x.tmp`, `x.part`, `x~`) are left alone until they are renamed.
    """

    def __init__(
        self,
        definition: SourceDefinition,
        journal: Journal,
        *,
        dimensions: Sequence[str] = (),
        max_item_bytes: int = 2**20,
    ) -> None:
        self._source = definition
        self._folder = Path(definition.path)
        self._journal = journal
        self._dimensions = dimensions
        self._max_item_bytes = max_item_bytes
        self._files = FollowedFiles(self._folder, journal)
        self._budget = 0
        self._listed = True
        #: Whether the last scan left nothing to read: no growth, no held line, no file that is still coming.
        self.at_end = False

    def scan_once(self, now_us: int) -> int:
        """Read what is new, about 16 MiB at most; the number of items appended. To be called again and again."""
        self.at_end = False
        try:
            present = entries_of(self._folder, lambda mark, name: mark in self._files or self._wants(name))
        except SourceError as error:
            if self._listed:
                log.warning("directory_unreadable", source=self._source.name, error=str(error))
            self._listed = False
            return 0
        self._listed = True
        self._files.settled = True
        self._budget = SCAN_BYTES
        self._open = sum(followed.tail is not None for followed in self._files)
        count = 0
        for followed in self._files.missing(present):
            count += self._read_last(followed, now_us)
        looks = {mark: self._files.look(mark, entry, now_us) for mark, entry in present.items()}
        # Known files first: a copy is compared with all that was read of what it copies.
        for known in looks.values():
            if known:
                count += self._read(known, now_us)
        for mark, entry in present.items():
            if looks[mark] is None and self._wants(entry.name):
                new = self._files.meet(mark, entry, now_us)
                count += self._read(new, now_us) if new else 0
        self._files.tidy(present, now_us)
        self.at_end = self._files.settled
        return count

    def close(self) -> None:
        """Close the open files."""
        for followed in self._files:
            followed.shut()

    def _wants(self, name: str) -> bool:
        return fnmatch(name, self._source.pattern) and not is_unfinished(name)

    def _read(self, file: Followed, now_us: int, *, deleted: bool = False) -> int:
        """Append what is new in a file; the number of items."""
        if file.ended:
            if now_us - file.changed_us >= PARTIAL_AFTER_US:
                file.shut()
            return 0
        try:
            tail = file.tail or self._open_tail(file)
            if tail is None or self._budget <= 0:
                self._files.settled = False
                return 0
            return self._read_tail(file, tail, now_us, deleted=deleted)
        except SourceError as error:
            file.refuse(error)
            return 0
        except Exception:  # whatever it was, what is held was not appended
            if file.tail:
                file.tail.rewind(file.progress.offset)
            raise

    def _open_tail(self, file: Followed) -> Tail | None:
        """None when its name means another file by now: the next scan tells."""
        if file.entry is None:
            return None
        path = self._folder / file.name
        tail = Tail(path, self._source, self._dimensions, file.progress.offset, self._max_item_bytes)
        if mark_of(tail.file.stat()) != file.mark:
            tail.file.close()
            return None
        file.tail = tail
        self._open += 1
        return tail

    def _read_tail(self, file: Followed, tail: Tail, now_us: int, *, deleted: bool) -> int:
        idle_us = now_us - file.changed_us
        if tail.file.packed and idle_us < STEADY_AFTER_US and not deleted:
            self._files.settled = False
            return 0
        begin = tail.read_to
        count = sum(self._append(file, tail, framed, now_us) for framed in tail.read(self._budget))
        self._budget -= tail.read_to - begin
        may_end = tail.file.packed or deleted or idle_us >= PARTIAL_AFTER_US or not tail.holds_back
        if not tail.at_end or not may_end:
            self._files.settled = False
            return count
        packed_bytes = tail.file.stat().st_size if tail.file.packed else 0
        for framed in tail.finish():
            count += self._append(file, tail, framed, now_us, packed_bytes)
        if file.progress.packed_bytes != packed_bytes:
            progress = replace(file.progress, packed_bytes=packed_bytes)
            self._files.append_marks({file.mark: progress.to_mark()}, now_us)
            file.progress = progress
        file.ended = True
        if idle_us >= PARTIAL_AFTER_US or self._open > OPEN_FILES:
            file.shut()
            self._open -= 1
        return count

    def _append(self, file: Followed, tail: Tail, framed: Framed, now_us: int, packed_bytes: int = 0) -> int:
        progress = tail.progress(file.name, framed.end, now_us, packed_bytes)
        self._journal.append(
            payloads=framed.payloads,
            form="broken" if framed.note else tail.form,
            source=source_name(file.name),
            received_us=now_us,
            marks={file.mark: progress.to_mark()},
            note=framed.note,
        )
        file.progress = progress
        return len(framed.payloads)

    def _read_last(self, file: Followed, now_us: int) -> int:
        """Read the rest of a file that is no longer in the directory, if it is still open."""
        count = 0
        if file.tail:
            file.ended = file.tail.file.packed and file.ended
            count = self._read(file, now_us, deleted=True)
            if not file.ended:
                return count
        self._files.drop(file)
        return count
