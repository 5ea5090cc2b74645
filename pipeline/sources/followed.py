"""The files that a watched directory has shown: which are known, and by what a new one is recognised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from msgspec.structs import replace

from pipeline.errors import SourceError
from pipeline.instants import SECOND_US
from pipeline.sources.directory import Entry, open_entry
from pipeline.sources.files import OpenFile, is_rotated, source_name
from pipeline.sources.journal_contract import Journal
from pipeline.sources.progress import ENOUGH_BYTES, Progress, from_mark, goes_on
from pipeline.sources.tail import Tail

log = structlog.get_logger()

#: A packed file, or one that appears under a rotated name, may still be written by the one who packs or copies.
STEADY_AFTER_US = 5 * SECOND_US
#: Files that are gone are remembered, as they may come back packed or under another name. As many as that, since
#: a folder that is not mounted looks empty.
REMEMBERED_GONE = 10_000


@dataclass(slots=True)
class Followed:
    """A file that is known. `entry` None: known from its mark alone, not looked at since the start.
    `changed_us`: when `entry` was first seen so. `ended`: nothing is left to read until it changes."""

    mark: str
    entry: Entry | None
    progress: Progress
    changed_us: int
    tail: Tail | None = None
    ended: bool = False

    @property
    def name(self) -> str:
        return self.entry.name if self.entry else self.progress.name

    def shut(self) -> None:
        if self.tail:
            self.tail.file.close()
            self.tail = None

    def refuse(self, error: SourceError) -> None:
        """Leave it until it changes."""
        log.error("file_refused", file=self.name, error=str(error))
        self.ended = True
        self.shut()


class FollowedFiles:
    """The known files of one directory, by mark, and those that are gone.

    What is known lives in the marks of the journal: "file/..." for a file by its device and inode, "gone/..." for
    content that is no longer where it was. Raises JournalError from every method that is given a time.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._known: dict[str, Followed] = {}
        self._gone = {
            mark: from_mark(value) for mark, value in journal.marks.items() if mark.startswith(("file/", "gone/"))
        }
        self._waiting: dict[str, tuple[Entry, int]] = {}
        #: False when a file could not be told for sure: look again.
        self.settled = True

    def __contains__(self, mark: str) -> bool:
        return mark in self._known or mark in self._gone

    def __iter__(self) -> Iterator[Followed]:
        return iter(self._known.values())

    def missing(self, present: Mapping[str, Entry]) -> list[Followed]:
        """The known files that are not among `present`."""
        return [known for mark, known in self._known.items() if mark not in present]

    def look(self, mark: str, entry: Entry, now_us: int) -> Followed | None:
        """The known file that goes on here, with its look brought up to date; None when this is another file."""
        if mark in self._gone:
            self._known[mark] = Followed(mark, None, self._gone.pop(mark), now_us)
        known = self._known.get(mark)
        if known is None or known.entry == entry:
            return known
        try:
            file = open_entry(self._folder, entry, mark)
            if file is None:
                self.settled = False
                return known  # it was renamed just now
            with file:
                same, packed = goes_on(file, known.progress), file.packed
        except SourceError as error:
            known.entry = entry
            known.refuse(error)
            return known
        if not same:
            log.info("file_begins_again", file=entry.name)
            self._put_aside(known, now_us)
            return None
        if packed or (known.tail and entry.size < known.tail.read_to):
            known.shut()  # what was read beyond its progress may be another text now
        known.ended = packed and known.progress.packed_bytes == entry.size
        known.entry = entry
        known.changed_us = now_us
        return known

    def meet(self, mark: str, entry: Entry, now_us: int) -> Followed | None:
        """Get to know a new file; None when it is too early for that."""
        if not entry.size:
            return None
        seen, since_us = self._waiting.get(mark, (entry, now_us))
        since_us = since_us if seen == entry else now_us
        known = Followed(mark, entry, Progress(name=entry.name), since_us)
        try:
            file = open_entry(self._folder, entry, mark)
            if file is None:
                self.settled = False
                return None
            with file:
                if (file.packed or is_rotated(entry.name)) and now_us - since_us < STEADY_AFTER_US:
                    self._waiting[mark] = (entry, since_us)
                    self.settled = False
                    return None
                earlier = self._earlier(file, entry.name)
        except SourceError as error:
            known.refuse(error)
        else:
            if earlier:
                known.progress = self._take_over(earlier, known, now_us)
        self._waiting.pop(mark, None)
        self._known[mark] = known
        return known

    def drop(self, known: Followed) -> None:
        """A file is gone, and read to its end."""
        known.shut()
        del self._known[known.mark]
        if known.progress.offset:
            self._gone[known.mark] = known.progress

    def tidy(self, present: Mapping[str, Entry], now_us: int) -> None:
        """Forget what has been gone for longest, and those that were waited for in vain."""
        self._waiting = {mark: waiting for mark, waiting in self._waiting.items() if mark in present}
        if len(self._gone) > REMEMBERED_GONE:
            oldest = sorted(self._gone, key=lambda mark: -self._gone[mark].seen_us)[REMEMBERED_GONE:]
            self.append_marks(dict.fromkeys(oldest, ""), now_us)
            for mark in oldest:
                del self._gone[mark]

    def append_marks(self, marks: dict[str, str], now_us: int) -> None:
        self._journal.append(payloads=[], form="line", source="", received_us=now_us, marks=marks)

    def _earlier(self, file: OpenFile, name: str) -> str:
        """The mark of the file that this one is a copy or a later version of, "" for none.

        Under a name that a rotation gives it may copy any file of its source, else only one that is gone. Files may
        begin alike, so what repeats only a little must come from a rotation, and what it repeats must be gone.
        """
        rotated = is_rotated(name)
        earlier = dict(self._gone)
        if rotated:
            earlier |= {mark: known.progress for mark, known in self._known.items()}
        source = source_name(name)
        for mark, progress in sorted(earlier.items(), key=lambda item: -item[1].offset):
            if not progress.offset or (progress.offset < ENOUGH_BYTES and not (rotated and mark in self._gone)):
                continue
            if source_name(progress.name) == source and goes_on(file, progress):
                return mark
        return ""

    def _take_over(self, earlier: str, known: Followed, now_us: int) -> Progress:
        was = self._gone.get(earlier)
        progress = was or self._known[earlier].progress
        log.info("file_recognised", file=known.name, was=progress.name)
        progress = replace(progress, name=known.name, packed_bytes=0)
        self.append_marks({known.mark: progress.to_mark()} | ({earlier: ""} if was else {}), now_us)
        self._gone.pop(earlier, None)
        return progress

    def _put_aside(self, known: Followed, now_us: int) -> None:
        """Free the mark of a file whose content is gone, but remember the content."""
        if known.progress.offset:
            aside = f"gone/{known.mark.removeprefix('file/')}@{now_us}"
            self.append_marks({aside: known.progress.to_mark(), known.mark: ""}, now_us)
            self._gone[aside] = known.progress
        known.shut()
        del self._known[known.mark]
