"""Reading one file on from where it was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.records import Form
from pipeline.sources.filelog import FORMS, torn
from pipeline.sources.files import OpenFile, form_of
from pipeline.sources.framing import Framed, Framer, Lines
from pipeline.sources.progress import PRINT_BYTES, Progress, prints_of
from pipeline.sources.table import Rows
from pipeline.streams import SourceDefinition

#: Read and appended at once: each append waits for the disk.
BATCH_BYTES = 2**20


class Tail:
    """An open file and the state of its framing. What it holds in memory, `rewind` reads again.

    The file stays open, so that what was written before it was deleted can still be read.
    Raises: SourceError, from every method, when the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        source: SourceDefinition,
        dimensions: Sequence[str],
        offset: int,
        max_item_bytes: int,
    ) -> None:
        self._path = path
        self._source = source
        self._dimensions = dimensions
        self._max_item_bytes = max_item_bytes
        self.file = OpenFile(path)
        try:
            head = self.file.read()
            self._packed_head = head[:PRINT_BYTES]
            self._form = form_of(path, source.form, head)
            self.rewind(offset)
        except BaseException:
            self.file.close()
            raise

    @property
    def form(self) -> Form:
        """How its items are read."""
        return FORMS[self._form]

    def rewind(self, offset: int) -> None:
        """Go on from byte `offset` of the content, where an item begins; forget what is held in memory."""
        self._framer: Framer = Lines(max_item_bytes=self._max_item_bytes, start=offset)
        if self._form == "csv":
            rows = Rows(str(self._path), self._source.columns, self._dimensions, max_item_bytes=self._max_item_bytes)
            self.file.go_to(0)
            while offset and not rows.has_header and (block := self.file.read()):
                rows.feed(block)
            if offset:
                rows.go_on_at(offset)
            self._framer = rows
        self.file.go_to(offset)
        self.read_to = offset

    @property
    def holds_back(self) -> bool:
        """Whether the beginning of an item was read whose end is not there yet."""
        return self._framer.consumed < self.read_to

    def read(self, most_bytes: int) -> Iterator[Framed]:
        """Items up to the present end of the file, or until about `most_bytes` are read; `at_end` says which."""
        self.at_end = False
        while most_bytes > 0:
            block = self.file.read(BATCH_BYTES)
            if not block:
                self.at_end = True
                return
            most_bytes -= len(block)
            self.read_to += len(block)
            yield from self._framer.feed(block)

    def finish(self) -> list[Framed]:
        """The item that is held back, as it is: the file has ended."""
        consumed = self._framer.consumed
        rest = self._framer.finish()
        if self.file.damage:
            # The torn item is not passed over: it is read again should the rest of the file come.
            return [torn(rest, self.file)._replace(end=consumed)]
        return rest

    def progress(self, name: str, offset: int, now_us: int, packed_bytes: int) -> Progress:
        """The progress after an item that ends at `offset`."""
        head, tail = prints_of(self.file, offset, self._packed_head)
        return Progress(name=name, offset=offset, head=head, tail=tail, seen_us=now_us, packed_bytes=packed_bytes)
