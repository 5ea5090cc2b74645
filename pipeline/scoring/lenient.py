"""JSON with halves of surrogate pairs in its texts, as broken emoji leave them: Python's own reader takes them, msgspec
does not.

What is found stays the bytes that it came in: a number keeps its digits, a text its escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

_SPACE = re.compile(r"[ \t\r\n]*+")


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The name and the value of each member of an object, in order. Raises ValueError, RecursionError."""
    cursor = _Cursor(data)
    for _ in cursor.each("{", "}"):
        yield cursor.name(), cursor.value()
    cursor.end()


def elements(data: bytes, name: str) -> Iterator[bytes]:
    """The elements of the array that an object holds under `name`, with nothing beside it. They are read one at a time.
    Raises ValueError, RecursionError."""
    cursor = _Cursor(data)
    cursor.need("{")
    if cursor.name() != name:
        raise ValueError(f'there is no "{name}" at the beginning')
    for _ in cursor.each("[", "]"):
        yield cursor.value()
    cursor.need("}")
    cursor.end()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


# Numbers are looked at, not computed: there are digits that Python refuses to.
_read = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse).raw_decode


class _Cursor:
    """A place in a JSON text. Bytes that are no UTF-8 are carried along: whoever uses a value finds them in it."""

    def __init__(self, data: bytes) -> None:
        self._text = data.decode("utf-8", "surrogateescape")
        self._at = 0

    def takes(self, mark: str) -> bool:
        """Whether `mark` is next; then it is passed."""
        self._pass_space()
        found = self._text.startswith(mark, self._at)
        self._at += found
        return found

    def need(self, mark: str) -> None:
        if not self.takes(mark):
            raise ValueError(f"no {mark} at character {self._at}")

    def each(self, opening: str, closing: str) -> Iterator[None]:
        """Stands before each of what is between two brackets, which the caller passes."""
        self.need(opening)
        if self.takes(closing):
            return
        yield
        while not self.takes(closing):
            self.need(",")
            yield

    def name(self) -> str:
        """The name of a member, with the colon behind it."""
        name = json.loads(self.value())
        if not isinstance(name, str):
            raise ValueError(f"no name of a field before character {self._at}")
        self.need(":")
        return name

    def value(self) -> bytes:
        self._pass_space()
        start = self._at
        _, self._at = _read(self._text, start)
        return self._text[start : self._at].encode("utf-8", "surrogateescape")

    def end(self) -> None:
        self._pass_space()
        if self._at < len(self._text):
            raise ValueError(f"more than one value: another begins at character {self._at}")

    def _pass_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
