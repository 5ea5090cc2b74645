"""Which column of a table is which field of an item."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import msgspec

from pipeline.errors import SourceError
from pipeline.sources.weeks import Calendar, monday

FIELDS = ("time", "text", "id", "source", "bad", "total")

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(['\"\\]))")
_encode = msgspec.json.Encoder().encode


class Columns:
    """Makes JSON items of the rows of one table.

    `wanted` maps a field to the column that holds it. Two columns joined by a comma make one value, with a space
    between them; for "time", a year and a week number make the date of that week's Monday: the weeks of the US
    CDC, or those of ISO 8601 with `iso:` in front ("iso:YEAR,WEEK"). Fields and dimensions that are not mapped
    come from the column of their own name, where there is one. A column is found by its name, else by its name
    in other capitals. Other columns are left out; so is one of "bad" and "total" without the other, unless it is
    mapped: tables of texts often have a label of that name.

    Raises SourceError, with the columns that there are, when a mapped column is missing, no column has a text or
    counts, or a column that is read is there twice: under its name, or where none was chosen, in other capitals.
    Raises UnicodeEncodeError when a column is missing and the header was not UTF-8.
    """

    def __init__(
        self,
        table: str,
        header: Sequence[str],
        wanted: Mapping[str, str],
        dimensions: Sequence[str],
        fields: Sequence[str] = FIELDS,
    ) -> None:
        self._table = table
        self._header = [name.strip() for name in header]
        self._folded = {name.lower(): i for i, name in reversed(list(enumerate(self._header)))}
        self._exact = {name: i for i, name in reversed(list(enumerate(self._header)))}
        self.width = len(self._header)
        self._cells: list[tuple[str, int]] = []
        self._made: list[tuple[str, Callable[[Sequence[str]], str | int]]] = []
        names = dict.fromkeys((*fields, *dimensions, *wanted))
        if None in (self._place("bad"), self._place("total")):
            names = {field: None for field in names if field not in ("bad", "total") or field in wanted}
        for field in names:
            self._bind(field, wanted.get(field))
        bound = {field for field, _ in (*self._cells, *self._made)}
        if not bound & {"text", "bad", "total"}:
            raise SourceError(
                f'{table} has no column "text"; {self._choices()}; '
                'map one: columns = { text = "..." }, or --text-column'
            )

    def item(self, row: Sequence[str]) -> bytes:
        """A row of `width` cells as JSON. Raises UnicodeEncodeError when a cell that is used was not UTF-8."""
        item: dict[str, str | int] = {field: row[i] for field, i in self._cells}
        for field, make in self._made:
            item[field] = make(row)
        return _encode(item)

    def _bind(self, field: str, wanted: str | None) -> None:
        calendar: Calendar = "cdc"
        if wanted is None:
            place = self._place(field)
            if place is None:
                return
            self._check_single(field, field)
            places = [place]
        else:
            places, calendar = self._find(field, wanted)
        if field == "text" and len(places) == 1:
            self._made.append((field, lambda row: without_bytes_mark(row[places[0]])))
        elif field in ("bad", "total"):
            self._made.append((field, lambda row: _count(" ".join([row[i] for i in places]))))
        elif field == "time" and len(places) == 2:
            first, second = places
            self._made.append((field, lambda row: _week_or_joined(row[first], row[second], calendar)))
        elif len(places) == 1:
            self._cells.append((field, places[0]))
        else:
            self._made.append((field, lambda row: " ".join([row[i] for i in places if row[i]])))

    def _find(self, field: str, wanted: str) -> tuple[list[int], Calendar]:
        calendar: Calendar = "cdc"
        names = [wanted.strip()]
        if self._place(names[0]) is None:
            if field == "time" and wanted.startswith("iso:"):
                calendar, wanted = "iso", wanted.removeprefix("iso:")
            names = [name.strip() for name in wanted.split(",")]
        places = []
        for name in names:
            place = self._place(name)
            if place is None:
                raise SourceError(f"{self._table} has no column {name!r} for {field}; {self._choices(name)}")
            self._check_single(field, name)
            places.append(place)
        return places, calendar

    def _check_single(self, field: str, name: str) -> None:
        """Raises SourceError where `name` may be either of two columns; one that was chosen is the one written so."""
        same = [column for column in self._header if column == name]
        if len(same) != 1 or name == field:
            same = [column for column in self._header if column.lower() == name.lower()]
        if len(same) > 1:
            listed = ", ".join(map(repr, same[:3]))
            raise SourceError(
                f"{self._table} has {len(same)} columns in its header that may be the one for {field}: {listed}; "
                "rename or remove all but one"
            )

    def _place(self, name: str) -> int | None:
        return self._exact.get(name, self._folded.get(name.lower()))

    def _choices(self, name: str = "") -> str:
        """What may be meant. Raises UnicodeEncodeError where the header was not UTF-8: then that is what is wrong."""
        "".join(self._header).encode()
        listed = ", ".join(repr(column[:40]) for column in self._header[:30])
        near = get_close_matches(name.lower(), self._folded, 1) if name else []
        hint = f"; did you mean {self._header[self._folded[near[0]]]!r}?" if near else ""
        return f"it has {listed}{' and more' if self.width > 30 else ''}{hint}"


def without_bytes_mark(text: str) -> str:
    """Text that was written as a Python bytes literal (`b'...'`), as what it stood for; other text as it is.

    Only quotes, backslashes and `\\xNN` are unescaped: nothing is evaluated.
    """
    if len(text) < 3 or text[0] != "b" or text[1] not in "'\"" or text[-1] != text[1]:
        return text
    inside = text[2:-1]
    if "\\" not in inside:
        return inside
    unescaped = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], inside)
    try:
        return unescaped.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return inside


def _count(cell: str) -> str | int:
    """A whole number as such ("44", "44.0"); anything else as it is, for ingest to refuse."""
    whole, _, fraction = cell.strip().partition(".")
    if whole.isascii() and whole.isdigit() and len(whole) < 19 and not fraction.strip("0"):
        return int(whole)
    return cell


def _week_or_joined(first: str, second: str, calendar: Calendar) -> str:
    year, week = first.strip(), second.strip()
    if len(year) == 4 and len(week) <= 2 and (year + week).isascii() and year.isdigit() and week.isdigit():
        try:
            return monday(int(year), int(week), calendar).isoformat()
        except ValueError:
            pass  # joined, it is no time: a dead letter that shows both
    return f"{year} {week}"
