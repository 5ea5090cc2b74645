"""Reading one item: raw bytes to the fields that a stream wants.

JSON objects are decoded into a struct made for the stream's definition: only the fields that it uses are looked
at, under the names that its columns give them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import xxhash

from pipeline.errors import BrokenItem
from pipeline.ingest.loglines import parse_line
from pipeline.ingest.timestamps import parse_time
from pipeline.records import Counted
from pipeline.streams import Definition

#: A longer item is a dead letter.
MAX_ITEM_BYTES = 2**20
#: A longer text is cut: the classifier reads far less, and evidence must stay small.
MAX_TEXT = 20_000
#: What an item that lacks a dimension is counted under.
MISSING = "unknown"
#: A longer name of a group or member is cut: names come from outside.
MAX_NAME = 200
#: JSON that is nested deeper is a dead letter. The decoder's own limit depends on the stack that calls it, and an
#: item must not be counted live and be dead in a replay.
MAX_NESTING = 100
#: Counts beyond this are a mistake of the sender, and sums must stay exact.
MAX_COUNT = 2**40


class Item(NamedTuple):
    """An item as read. `time_us` None: it brought none. `text` is unmasked."""

    id: str
    time_us: int | None
    text: str
    source: str
    values: tuple[str, ...]
    counted: Counted | None


Read = Callable[[bytes, int], Item]

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def json_reader(definition: Definition) -> Read:
    """A function (payload, received_us) -> Item for JSON objects. It raises BrokenItem with the reason."""
    dimensions = definition.dimensions
    scalar = str | int | float | bool | None
    standard: dict[str, Any] = {
        "id": str | int | None,
        "time": str | int | float | None,
        "text": str | None,
        "source": str | int | None,
        "bad": int | float | None,
        "total": int | float | None,
    }
    names = {name: definition.columns.get(name, name) for name in standard}
    names |= {f"d{i}": definition.columns.get(name, name) for i, name in enumerate(dimensions)}
    hints = standard | {f"d{i}": scalar for i in range(len(dimensions))}
    # Two fields may have one column; it is decoded once, as the first of them.
    holder: dict[str, str] = {}
    same: dict[str, Any] = {}
    for name, column in names.items():
        first = holder.setdefault(column, name)
        if first != name:
            hints[first] |= hints[name]
            same[name] = property(attrgetter(first))
    fields = [(name, hint, None) for name, hint in hints.items() if name not in same]
    shape = msgspec.defstruct("ItemJson", fields, rename=names, namespace=same, gc=False)
    decode = msgspec.json.Decoder(shape).decode
    zone = _zone(definition)
    values_of = _values_of(len(dimensions))

    def read(payload: bytes, received_us: int) -> Item:
        if payload.count(b"[") + payload.count(b"{") > MAX_NESTING and _nesting(payload) > MAX_NESTING:
            raise BrokenItem(f"nested deeper than {MAX_NESTING} levels")
        try:
            got: Any = decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BrokenItem(f"not a JSON object of this stream: {error}") from None
        time = got.time
        time_us = None if time is None or time == "" else parse_time(time, received_us=received_us, zone=zone)
        counted = None
        if got.bad is not None or got.total is not None:
            counted = _counted(got.bad, got.total)
        text = got.text
        if text is None:
            if counted is None:
                raise BrokenItem(f"no field {names['text']!r}, and no counts {names['bad']!r} and {names['total']!r}")
            text = ""
        elif not isinstance(text, str):
            raise BrokenItem(f"{names['text']!r} is no text")
        elif (not text or text.isspace()) and counted is None:
            raise BrokenItem("the text is empty")
        id = got.id
        source = got.source
        return Item(
            "" if id is None else _id(str(id)),
            time_us,
            text,
            "" if source is None else str(source)[:MAX_NAME],
            tuple(map(_name, values_of(got))),
            counted,
        )

    return read


def line_reader(definition: Definition) -> Read:
    """A function (payload, received_us) -> Item for plain log lines. It raises BrokenItem with the reason."""
    dimensions = definition.dimensions
    zone = _zone(definition)

    def read(payload: bytes, received_us: int) -> Item:
        try:
            line = payload.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BrokenItem(f"not UTF-8: {error.reason} at byte {error.start}") from None
        if not line.strip():
            raise BrokenItem("the line is empty")
        parsed = parse_line(line, received_us=received_us, zone=zone)
        known = {"host": parsed.host, "program": parsed.program}
        values = tuple(_name(known.get(d)) for d in dimensions)
        return Item("", parsed.time_us, parsed.text or line, "", values, None)

    return read


def _nesting(payload: bytes) -> int:
    """How deep arrays and objects are nested; brackets in strings are none."""
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(payload):
        bracket = found[0]
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in b"]}":
            depth -= 1
    return deepest


def _values_of(dimensions: int) -> Callable[[Any], tuple[Any, ...]]:
    """A function from an item as decoded to the values of its dimensions; it runs for every item."""
    if dimensions == 0:
        return lambda got: ()
    if dimensions == 1:
        return lambda got: (got.d0,)
    return attrgetter(*(f"d{i}" for i in range(dimensions)))


def _zone(definition: Definition) -> ZoneInfo | None:
    return None if definition.zone == "UTC" else ZoneInfo(definition.zone)


def _id(id: str) -> str:
    """The id itself; of a long one its beginning and a hash: two that only begin alike are two items."""
    if len(id) <= MAX_NAME:
        return id
    return id[:MAX_NAME] + xxhash.xxh3_128_hexdigest(id.encode("utf-8", "surrogatepass"))


def _name(value: object) -> str:
    if type(value) is str and 0 < len(value) <= MAX_NAME:
        return value
    return MISSING if value is None or value == "" else str(value)[:MAX_NAME]


def _counted(bad: object, total: object) -> Counted:
    """Counts as an item brought them. Raises BrokenItem unless 0 <= bad <= total, both whole numbers."""
    if bad is None:
        raise BrokenItem("it brings 'total' without 'bad'")
    if total is None:
        total = bad
    counted = Counted(_whole("bad", bad), _whole("total", total))
    if counted.bad > counted.total:
        raise BrokenItem(f"'bad' is {counted.bad}, more than 'total' {counted.total}")
    return counted


def _whole(name: str, value: object) -> int:
    # Nothing that makes a float of an int: JSON brings ints of thousands of digits.
    whole = value.is_integer() if isinstance(value, float) else type(value) is int
    if not isinstance(value, (int, float)) or not whole:
        raise BrokenItem(f"{name!r} is {str(value)[:40]!r}, not a whole number")
    if not 0 <= value <= MAX_COUNT:
        raise BrokenItem(f"{name!r} is {str(value)[:40]!r}, outside 0 to {MAX_COUNT}")
    return int(value)
