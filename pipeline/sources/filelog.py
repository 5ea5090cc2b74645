"""A file as a raw partition, read in place: what a replay reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from pipeline.errors import SourceError
from pipeline.records import Form, RawRecord
from pipeline.sources.files import OpenFile, form_of, source_name
from pipeline.sources.framing import BROKEN_BYTES, Framed, Framer, Lines
from pipeline.sources.table import Rows
from pipeline.streams import FileForm

log = structlog.get_logger()

#: What a file of each form holds.
FORMS: dict[str, Form] = {"json": "json", "csv": "row", "line": "line"}


class FileLog:
    """The items of one file as consecutive entries from position 0, then one "leave".

    Delivery: every line or row is one item; what cannot be framed is one item of form "broken" with a note (a
    line above `max_item_bytes`, a row that does not fit its header, the torn end of a gzip file).
    Ordering: that of the file. Idempotence: the same bytes give the same positions and payloads, however often
    they are read and whatever `max_items`.
    Raises: SourceError when the file cannot be read, lacks a column, or was changed while it was read: its size
    and modification time are compared at every block and at the end, since a log that changes is no raw log.
    """

    def __init__(
        self,
        path: Path,
        *,
        partition: str,
        form: FileForm = "auto",
        columns: Mapping[str, str] | None = None,
        dimensions: Sequence[str] = (),
        received_us: int,
        max_item_bytes: int = 2**20,
    ) -> None:
        self.path = path
        self.partition = partition
        self._form = form
        self._columns = columns or {}
        self._dimensions = dimensions
        self._received_us = received_us
        self._max_item_bytes = max_item_bytes
        #: How much of the file as it is stored has been read: progress.
        self.bytes_read = 0

    def records(self, max_items: int) -> Iterator[RawRecord]:
        """The file's records, each of at most `max_items` items."""
        position = 0
        for form, payloads, note in _gathered(self._framed(), max_items):
            yield RawRecord(
                position,
                self._received_us,
                form="broken" if note else form,
                source=source_name(self.path.name),
                payloads=payloads,
                note=note,
            )
            position += len(payloads)
        yield RawRecord(position, self._received_us, kind="leave")

    def _framed(self) -> Iterator[tuple[Form, Framed]]:
        with OpenFile(self.path) as file:
            begin = file.stat()
            block = file.read()
            form = form_of(self.path, self._form, block)
            framer: Framer = (
                Rows(str(self.path), self._columns, self._dimensions, max_item_bytes=self._max_item_bytes)
                if form == "csv"
                else Lines(max_item_bytes=self._max_item_bytes)
            )
            item_form: Form = FORMS[form]
            while block:
                self.bytes_read = file.stored_bytes_read
                for framed in framer.feed(block):
                    yield item_form, framed
                _check_unchanged(self.path, begin, file.stat())
                block = file.read()
            rest = framer.finish()
            if file.damage:
                rest = [torn(rest, file)]
            for framed in rest:
                yield item_form, framed
            _check_unchanged(self.path, begin, file.stat())


def torn(rest: list[Framed], file: OpenFile) -> Framed:
    """What stands at the end of a gzip file that ends too early: the item that was torn, as a broken one."""
    log.warning("gzip_damaged", file=str(file.path), damage=file.damage)
    last = b"\n".join(payload for framed in rest for payload in framed.payloads)
    return Framed([last[:BROKEN_BYTES]], f"{file.damage}: what follows is lost", rest[-1].end if rest else 0)


def _gathered(items: Iterator[tuple[Form, Framed]], max_items: int) -> Iterator[tuple[Form, list[bytes], str]]:
    """Items in lists of `max_items`, shorter only before a broken one and at the end."""
    form: Form = "json"
    held: list[bytes] = []
    for form, framed in items:
        if framed.note:
            if held:
                yield form, held, ""
            held = []
            yield form, framed.payloads, framed.note
            continue
        held += framed.payloads
        cut = len(held) - len(held) % max_items
        for start in range(0, cut, max_items):
            yield form, held[start : start + max_items], ""
        held = held[cut:]
    if held:
        yield form, held, ""


def _check_unchanged(path: Path, begin: os.stat_result, now: os.stat_result) -> None:
    if (begin.st_size, begin.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise SourceError(
            f"{path} was changed while it was read (it had {begin.st_size:,} bytes, now {now.st_size:,}); "
            "replay a copy that nothing writes to"
        )
