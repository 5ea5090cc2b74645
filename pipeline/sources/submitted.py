"""Submissions out of a flow of bytes: JSON lines, a table or plain lines, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipeline.errors import SourceError
from pipeline.scoring.submissions import Fields, Submission, of_json, of_text, refused
from pipeline.sources.framing import Framed, Framer, Lines
from pipeline.sources.inflow import Inflow
from pipeline.sources.input_form import BOM, LOOKED_AT_BYTES, LOOKED_AT_LINES, Form, form_of
from pipeline.sources.table import Rows

#: Longest line or row; of a longer one nothing is kept.
MAX_BYTES = 16 * 2**20
#: Seconds that what was read waits for more, so that a slow writer gets its answers and a fast one full batches.
PATIENCE_S = 0.05


def submitted(
    inflow: Inflow, form: Literal["auto"] | Form, fields: Fields, *, kind: str, where: str = ""
) -> Iterator[list[Submission]]:
    """The submissions of a flow, some at a time and in order; an empty list when nothing more comes for now.

    Each line that is not blank, or row, is one; an error in it says `where` and its number: lines count from 1, rows
    without the header. `kind` is that of all. Raises SourceError for what cannot be read at all: a table without the
    column, JSON over many lines, UTF-16, bytes that are no text.
    """
    head, ended = _head(inflow)
    chosen = form_of(inflow.name, head, form, fields.text)
    framer: Framer
    if chosen == "csv":
        wanted = {"text": fields.text} | {f: getattr(fields, f) for f in ("id", "kind") if getattr(fields, f) != f}
        framer = Rows(inflow.name, wanted, ("kind",), fields=("text", "id"), max_item_bytes=MAX_BYTES)
    else:
        framer = Lines(max_item_bytes=MAX_BYTES, verbatim=True)
    reader = _Reader(chosen, fields if chosen == "json" else Fields(), kind, where)
    yield reader.read(_first(framer, head, ended))
    while not ended:
        if inflow.waits(PATIENCE_S):
            yield []
        block = inflow.read()
        ended = not block
        yield reader.read(framer.feed(block) if block else framer.finish())


class _Reader:
    """Turns framed payloads into submissions, and counts them."""

    def __init__(self, form: Form, fields: Fields, kind: str, where: str) -> None:
        self._form = form
        self._fields = fields
        self._kind = kind
        self._unit = f"{where}{'row' if form == 'csv' else 'line'}"
        self._number = 0

    def read(self, framed: list[Framed]) -> list[Submission]:
        return [one for some in framed for one in self._some(some)]

    def _some(self, framed: Framed) -> Iterator[Submission]:
        if framed.note:
            self._number += 1
            yield refused(f"{self._unit} {self._number}: {framed.note}")
            return
        for payload in framed.payloads:
            self._number += 1
            if self._form != "csv":
                payload = payload.removeprefix(BOM) if self._number == 1 else payload
                if not payload or payload.isspace():
                    continue
            one = self._line(payload) if self._form == "line" else of_json(payload, self._fields, kind=self._kind)
            yield one._replace(error=f"{self._unit} {self._number}: {one.error}") if one.error else one

    def _line(self, payload: bytes) -> Submission:
        try:
            return of_text(payload.rstrip(b"\r").decode(), kind=self._kind)
        except UnicodeDecodeError:
            return refused("not UTF-8; make it so first: iconv -f latin1 -t utf-8")


def _first(framer: Framer, head: bytes, ended: bool) -> list[Framed]:
    """What is framed of the beginning. Raises SourceError where it is a table without the column."""
    try:
        return framer.feed(head) + (framer.finish() if ended else [])
    except SourceError as error:
        columns = "--text-column, --id-column and --kind-column name columns"
        forms = "--form json reads JSON lines, --form line plain lines"
        raise SourceError(f"{error}; {columns}; {forms}") from None


def _head(inflow: Inflow) -> tuple[bytes, bool]:
    """Enough of the beginning to tell what it is; whether that is all there is."""
    head = b""
    while len(head) < LOOKED_AT_BYTES and head.count(b"\n") < LOOKED_AT_LINES:
        if head.removeprefix(BOM).lstrip()[:1] == b"{" and b"\n" in head:
            break  # no need to wait for more
        if not (block := inflow.read()):
            return head, True
        head += block
    return head, False
