"""A watched directory: files that appear, grow, rotate and go, each item of them once in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import structlog

from pipeline.errors import JournalError, SourceError
from pipeline.instants import SECOND_US
from pipeline.sources.directory import Entry, entries_of, is_unfinished, mark_of, open_entry
from pipeline.sources.files import OpenFile, is_rotated, source_name
from pipeline.sources.framing import Framed
from pipeline.sources.journal_contract import Journal
from pipeline.sources.progress import ENOUGH_BYTES, Progress, from_mark, goes_on
from pipeline.sources.tail import Tail
from pipeline.streams import SourceDefinition

log = structlog.get_logger()

#: A last line without its end is taken as it is once its file has not changed for so long.
PARTIAL_AFTER_US = 60 * SECOND_US
#: A packed file, or one that appears under a rotated name, may still be written by the one who packs or copies.
STEADY_AFTER_US = 5 * SECOND_US
#: Read in one scan, so that the caller gets to do something else; the next scan goes on.
SCAN_BYTES = 16 * 2**20
#: Files kept open, so that their last lines can be read after they are deleted.
OPEN_FILES = 128
#: Files that are gone are remembered, as they may come back packed or under another name.
#: As many as that, since a folder that is not mounted looks empty.
REMEMBERED_GONE = 10_000


@dataclass(slots=True)
class _Known:
    """A file that is followed. `changed_us`: when `entry` was first seen so. `ended`: nothing is left to read
    until it changes."""

    entry: Entry | None
    progress: Progress
    changed_us: int
    tail: Tail | None = None
    ended: bool = False


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
        self._known: dict[str, _Known] = {}
        self._waiting: dict[str, tuple[Entry, int]] = {}
        self._gone = {
            mark: from_mark(value) for mark, value in journal.marks.items() if mark.startswith(("file/", "gone/"))
        }
        self._open = 0
        self._budget = 0
        self._listed = True
        #: Whether the last scan left nothing to read: no growth, no held line, no file that is still coming.
        self.at_end = False

    def scan_once(self, now_us: int) -> int:
        """Read what is new, about 16 MiB at most; the number of items appended. To be called again and again."""
        try:
            present = entries_of(self._folder, self._follows)
        except SourceError as error:
            if self._listed:
                log.warning("directory_unreadable", source=self._source.name, error=str(error))
            self._listed = self.at_end = False
            return 0
        self._listed = self.at_end = True
        self._budget = SCAN_BYTES
        count = 0
        for mark in [mark for mark in self._known if mark not in present]:
            count += self._leave(mark, now_us)
        # Known files first: a copy is compared with all that was read of what it copies.
        new = {mark: entry for mark, entry in present.items() if not self._goes_on(mark, entry, now_us)}
        for mark in present:
            if mark not in new:
                count += self._read(mark, now_us)
        self._waiting = {mark: waiting for mark, waiting in self._waiting.items() if mark in new}
        for mark, entry in new.items():
            if self._wants(entry.name) and self._meet(mark, entry, now_us):
                count += self._read(mark, now_us)
        self._forget(now_us)
        return count

    def close(self) -> None:
        """Close the open files."""
        for known in self._known.values():
            self._shut(known)

    def _follows(self, mark: str, name: str) -> bool:
        return mark in self._known or mark in self._gone or self._wants(name)

    def _wants(self, name: str) -> bool:
        return fnmatch(name, self._source.pattern) and not is_unfinished(name)

    def _goes_on(self, mark: str, entry: Entry, now_us: int) -> bool:
        """Whether this file is known and goes on with what was read of it."""
        if mark in self._gone:
            self._known[mark] = _Known(None, self._gone.pop(mark), now_us)
        known = self._known.get(mark)
        if known is None:
            return False
        if entry == known.entry:
            return True
        try:
            file = open_entry(self._folder, entry, mark)
            if file is None:
                self.at_end = False
                return True  # the next scan sees what it is called now
            with file:
                same = goes_on(file, known.progress)
                packed = file.packed
                shrank = known.tail is not None and not packed and entry.size < known.tail.read_to
        except SourceError as error:
            self._refuse(known, entry, error)
            return True
        if not same:
            log.info("file_begins_again", source=self._source.name, file=entry.name)
            self._retire(mark, now_us)
            return False
        if packed or shrank:
            self._shut(known)  # what was read after its progress may be another text now
        known.ended = packed and known.progress.packed_bytes == entry.size
        known.entry = entry
        known.changed_us = now_us
        return True

    def _meet(self, mark: str, entry: Entry, now_us: int) -> bool:
        """Get to know a file that is new; whether it can be read now."""
        if not entry.size:
            return False
        seen, since_us = self._waiting.get(mark, (entry, now_us))
        since_us = since_us if seen == entry else now_us
        known = _Known(entry, Progress(name=entry.name), since_us)
        try:
            file = open_entry(self._folder, entry, mark)
            if file is None:
                self.at_end = False
                return False
            with file:
                may_be_partial = file.packed or is_rotated(entry.name)
                if may_be_partial and now_us - since_us < STEADY_AFTER_US:
                    self._waiting[mark] = (entry, since_us)
                    self.at_end = False
                    return False
                before = self._earlier(file, entry.name)
        except SourceError as error:
            self._known[mark] = known
            self._refuse(known, entry, error)
            return False
        if before:
            known.progress = self._take_over(before, mark, entry.name, now_us)
        self._known[mark] = known
        return True

    def _earlier(self, file: OpenFile, name: str) -> str:
        """The mark of the file that this one is a copy or a later version of, "" for none.

        Under a name that a rotation gives it may copy any file of its source, else only one that is gone.
        """
        earlier = dict(self._gone)
        if is_rotated(name):
            earlier |= {mark: known.progress for mark, known in self._known.items()}
        for mark, progress in sorted(earlier.items(), key=lambda item: -item[1].offset):
            of_it = source_name(progress.name) == source_name(name) and progress.offset >= ENOUGH_BYTES
            if of_it and goes_on(file, progress):
                return mark
        return ""

    def _take_over(self, before: str, mark: str, name: str, now_us: int) -> Progress:
        is_gone = before in self._gone
        progress = self._gone[before] if is_gone else self._known[before].progress
        log.info("file_recognised", source=self._source.name, file=name, was=progress.name)
        progress = msgspec.structs.replace(progress, name=name, packed_bytes=0)
        self._append_marks({mark: progress.to_mark()} | ({before: ""} if is_gone else {}), now_us)
        self._gone.pop(before, None)
        return progress

    def _read(self, mark: str, now_us: int, *, deleted: bool = False) -> int:
        known = self._known[mark]
        if known.ended:
            if known.tail and now_us - known.changed_us >= PARTIAL_AFTER_US:
                self._shut(known)
            return 0
        entry = known.entry
        if entry is None or self._budget <= 0:
            self.at_end = False
            return 0
        try:
            if known.tail is None:
                path = self._folder / entry.name
                known.tail = Tail(path, self._source, self._dimensions, known.progress.offset, self._max_item_bytes)
                self._open += 1
                if mark_of(known.tail.file.stat()) != mark:
                    self._shut(known)
                    self.at_end = False
                    return 0
            return self._read_tail(mark, known, known.tail, now_us, deleted=deleted)
        except SourceError as error:
            self._refuse(known, entry, error)
            return 0
        except JournalError:
            self.at_end = False
            if known.tail:
                known.tail.rewind(known.progress.offset)
            raise

    def _read_tail(self, mark: str, known: _Known, tail: Tail, now_us: int, *, deleted: bool) -> int:
        idle_us = now_us - known.changed_us
        if tail.file.packed and idle_us < STEADY_AFTER_US and not deleted:
            self.at_end = False
            return 0
        begin = tail.read_to
        count = sum(self._append(mark, known, tail, framed, now_us) for framed in tail.read(self._budget))
        self._budget -= tail.read_to - begin
        if not tail.at_end:
            self.at_end = False
            return count
        if tail.file.packed:
            size = tail.file.stat().st_size
            for framed in tail.finish():
                count += self._append(mark, known, tail, framed, now_us, packed_bytes=size)
            if known.progress.packed_bytes != size:
                progress = msgspec.structs.replace(known.progress, packed_bytes=size)
                self._append_marks({mark: progress.to_mark()}, now_us)
                known.progress = progress
        elif tail.holds_back and not deleted and idle_us < PARTIAL_AFTER_US:
            self.at_end = False
            return count
        else:
            count += sum(self._append(mark, known, tail, framed, now_us) for framed in tail.finish())
        known.ended = True
        if idle_us >= PARTIAL_AFTER_US or self._open > OPEN_FILES:
            self._shut(known)
        return count

    def _append(self, mark: str, known: _Known, tail: Tail, framed: Framed, now_us: int, packed_bytes: int = 0) -> int:
        name = known.entry.name if known.entry else known.progress.name
        progress = tail.progress(name, framed.end, now_us, packed_bytes)
        self._journal.append(
            payloads=framed.payloads,
            form="broken" if framed.note else tail.form,
            source=source_name(name),
            received_us=now_us,
            marks={mark: progress.to_mark()},
            note=framed.note,
        )
        known.progress = progress
        return len(framed.payloads)

    def _leave(self, mark: str, now_us: int) -> int:
        """Read the rest of a file that is no longer in the directory, if it is still open."""
        known = self._known[mark]
        count = 0
        if known.tail:
            known.ended = known.tail.file.packed and known.ended
            count = self._read(mark, now_us, deleted=True)
            if not known.ended:
                return count
        self._shut(known)
        del self._known[mark]
        if known.progress.offset:
            self._gone[mark] = known.progress
        return count

    def _retire(self, mark: str, now_us: int) -> None:
        """Free the mark of a file whose content is gone, but remember the content."""
        known = self._known[mark]
        if known.progress.offset:
            aside = f"gone/{mark.removeprefix('file/')}@{now_us}"
            self._append_marks({aside: known.progress.to_mark(), mark: ""}, now_us)
            self._gone[aside] = known.progress
        self._shut(known)
        del self._known[mark]

    def _forget(self, now_us: int) -> None:
        too_many = sorted(self._gone, key=lambda mark: -self._gone[mark].seen_us)[REMEMBERED_GONE:]
        if too_many:
            self._append_marks(dict.fromkeys(too_many, ""), now_us)
            for mark in too_many:
                del self._gone[mark]

    def _append_marks(self, marks: dict[str, str], now_us: int) -> None:
        self._journal.append(payloads=[], form="line", source="", received_us=now_us, marks=marks)

    def _refuse(self, known: _Known, entry: Entry, error: SourceError) -> None:
        log.error("file_refused", source=self._source.name, file=entry.name, error=str(error))
        known.entry = entry
        known.ended = True
        self._shut(known)

    def _shut(self, known: _Known) -> None:
        if known.tail:
            known.tail.file.close()
            known.tail = None
            self._open -= 1
