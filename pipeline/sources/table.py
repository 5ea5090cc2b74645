"""Tables: CSV with a header, as JSON items, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import SourceError
from pipeline.sources.columns import FIELDS, Columns
from pipeline.sources.framing import BROKEN_BYTES, Framed, Lines

#: A row with more lines than this is taken for one whose closing quote is missing.
MOST_LINES = 1000
_DELIMITERS = ",;\t"
_UNCLOSED = "a quote in this line is never closed"
_MARK = b"\xef\xbb\xbf"


class Rows:
    """One JSON item a row; the first row is the header. See Framer.

    Quoted cells may hold line ends. Broken, with the row as it came: a row with more or fewer cells than the
    header, one that is not UTF-8 where it is used, and a line with a quote that nothing closes within 1,000
    lines or `max_item_bytes`; the lines after it are read as rows of their own. The delimiter (comma, semicolon
    or tab) is the one that cuts the header into most columns. Raises SourceError for a header that is none,
    lacks a column or has it twice: see Columns, which makes the items of `fields`.
    """

    def __init__(
        self,
        table: str,
        wanted: Mapping[str, str],
        dimensions: Sequence[str],
        *,
        fields: Sequence[str] = FIELDS,
        max_item_bytes: int = 2**20,
    ) -> None:
        csv.field_size_limit(2**31 - 1)  # `max_item_bytes` bounds a row
        self._table = table
        self._wanted = wanted
        self._dimensions = dimensions
        self._fields = fields
        self._max = max_item_bytes
        self._columns: Columns | None = None
        self._delimiter = ","
        self._lines = Lines(max_item_bytes=max_item_bytes, verbatim=True)
        self._held: list[bytes] = []  # lines of a row that is not complete
        self._end = 0

    @property
    def consumed(self) -> int:
        return self._end

    @property
    def has_header(self) -> bool:
        return self._columns is not None

    def go_on_at(self, start: int) -> None:
        """Read rows from byte `start` of the stream next, with the header that was read."""
        self._lines = Lines(max_item_bytes=self._max, start=start, verbatim=True)
        self._held = []
        self._end = start

    def feed(self, block: bytes) -> list[Framed]:
        return self._take(self._lines.feed(block), ended=False)

    def finish(self) -> list[Framed]:
        return self._take(self._lines.finish(), ended=True)

    def _take(self, framed_lines: list[Framed], *, ended: bool) -> list[Framed]:
        framed: list[Framed] = []
        for lines in framed_lines:
            if not lines.note:
                self._held += lines.payloads
                self._rows(framed, ended=False)
                continue
            self._rows(framed, ended=True)  # a row does not go on after a line that cannot be held
            self._end = lines.end
            framed.append(lines)
        if not ended:
            return framed
        self._rows(framed, ended=True)
        self._end = self._lines.consumed  # the last line may have had no line end
        return [each._replace(end=min(each.end, self._end)) for each in framed]

    def _rows(self, framed: list[Framed], *, ended: bool) -> None:
        if self._end == 0 and self._held and self._held[0].startswith(_MARK):
            self._held[0] = self._held[0].removeprefix(_MARK)
            self._end = len(_MARK)
        while self._held:
            if self._parse(framed):
                continue
            if not self._held or not (ended or self._too_long(self._held)):
                return
            self._break_off(framed, 1, _UNCLOSED)

    def _too_long(self, lines: list[bytes]) -> bool:
        return len(lines) > MOST_LINES or sum(map(len, lines)) > self._max

    def _parse(self, framed: list[Framed]) -> bool:
        """Frame the complete rows of what is held, up to the first that is broken; whether there was one."""
        lines = self._held
        open_quote = False

        def texts() -> Iterator[str]:
            nonlocal open_quote
            for line in lines:
                yield line.decode("utf-8", "surrogateescape") + "\n"
            open_quote = True  # if a row follows, it asked for a line more

        if self._columns is None:
            try:
                header = next((line for line in lines if line.strip()), b"")
                self._delimiter = delimiter_of(header.decode("utf-8", "surrogateescape"))
            except csv.Error as error:
                raise SourceError(
                    f"the first line of {self._table} is no header of a table; if its lines end in a carriage return "
                    "alone, make them end in line feeds: tr '\\r' '\\n'"
                ) from error
        reader = csv.reader(texts(), delimiter=self._delimiter)
        items: list[bytes] = []
        done = 0
        note = ""
        try:
            for row in reader:
                if open_quote:
                    break
                if reader.line_num > done + 1 and self._too_long(lines[done : reader.line_num]):
                    note = _UNCLOSED
                    break
                if self._columns is None:
                    self._columns = self._bind(row) if row else None
                elif len(row) == self._columns.width:
                    items.append(self._columns.item(row))
                elif row:
                    note = f"a row of {len(row)} columns where the header has {self._columns.width}"
                    break
                done = reader.line_num
        except csv.Error as error:
            note = f"not a row of CSV: {error}"
        except UnicodeEncodeError:
            note = "a row that is not UTF-8"
        broken = 1 if note == _UNCLOSED else reader.line_num - done
        self._pass(done)
        if items:
            framed.append(Framed(items, "", self._end))
        if note:
            self._break_off(framed, broken, note)
        return bool(note)

    def _bind(self, header: Sequence[str]) -> Columns:
        try:
            return Columns(self._table, header, self._wanted, self._dimensions, self._fields)
        except UnicodeEncodeError:
            raise SourceError(f"{self._table} is not UTF-8; make it so first: iconv -f latin1 -t utf-8") from None

    def _break_off(self, framed: list[Framed], count: int, note: str) -> None:
        raw = b"\n".join(self._held[:count])[:BROKEN_BYTES]
        self._pass(count)
        framed.append(Framed([raw], note, self._end))

    def _pass(self, count: int) -> None:
        self._end += sum(map(len, self._held[:count])) + count
        del self._held[:count]


def delimiter_of(header: str) -> str:
    """Comma, semicolon or tab: what cuts a header into most columns."""
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))
