"""Framing: where one item ends and the next begins, in constant memory, whatever the bytes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

#: So much of what could not be framed is kept for people to look at.
BROKEN_BYTES = 64 * 1024


class Framed(NamedTuple):
    """Some items in order, or, with a `note`, the beginning of one that could not be framed.

    `end` is the number of bytes of the stream up to the end of the last of them: where reading can go on.
    """

    payloads: list[bytes]
    note: str
    end: int


class Framer(Protocol):
    """Cuts a stream of bytes into items.

    Delivery: every byte fed belongs to one item, or to what is no item (line ends, empty lines, a header).
    Ordering: that of the stream. Where the blocks are cut changes no payload, note or order; only how many items
    come at once. Idempotence: none. Raises: SourceError when the stream as a whole cannot be read, else nothing.
    """

    @property
    def consumed(self) -> int:
        """Bytes up to the end of the last complete item; what follows is held."""

    def feed(self, block: bytes) -> list[Framed]:
        """The items that are complete with this block."""

    def finish(self) -> list[Framed]:
        """The held rest, as the stream has ended here. Feeding on begins a new item."""


class Lines:
    """One item a line, without its line end; empty lines are none. See Framer.

    A line above `max_item_bytes` is broken: its first 64 KiB are kept. `start` is where in the stream it begins.
    With `verbatim`, a byte order mark, carriage returns and empty lines are kept: what a reader of CSV needs.
    """

    def __init__(self, *, max_item_bytes: int = 2**20, start: int = 0, verbatim: bool = False) -> None:
        self._max = max_item_bytes
        self._kept = min(BROKEN_BYTES, max_item_bytes)  # whatever the block that showed that it is too long
        self._verbatim = verbatim
        self._held = b""
        self._held_bytes = 0  # more than len(_held) once a line is too long to hold
        self._end = start

    @property
    def consumed(self) -> int:
        return self._end

    def feed(self, block: bytes) -> list[Framed]:
        framed: list[Framed] = []
        if self._held_bytes > self._max:
            cut = block.find(b"\n")
            if cut < 0:
                self._held_bytes += len(block)
                return framed
            framed.append(self._broken(self._held, self._held_bytes + cut + 1))
            self._hold(b"")
            block = block[cut + 1 :]
        data = self._held + block
        lines = data.split(b"\n")
        self._hold(lines.pop())
        if len(data) > self._max and lines and max(map(len, lines)) > self._max:
            good: list[bytes] = []
            for line in lines:
                if len(line) <= self._max:
                    good.append(line)
                    continue
                framed += self._items(good)
                framed.append(self._broken(line, len(line) + 1))
                good = []
            lines = good
        return framed + self._items(lines)

    def finish(self) -> list[Framed]:
        held, length = self._held, self._held_bytes
        self._hold(b"")
        if length > self._max:
            return [self._broken(held, length)]
        return self._items([held], line_end=0) if held else []

    def _hold(self, line: bytes) -> None:
        self._held_bytes = len(line)
        self._held = line[: self._kept] if len(line) > self._max else line

    def _items(self, lines: list[bytes], line_end: int = 1) -> list[Framed]:
        at_begin = self._end == 0
        self._end += sum(map(len, lines)) + len(lines) * line_end
        if not self._verbatim:
            if lines and at_begin:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
            lines = [line for line in [line.rstrip(b"\r") for line in lines] if line]
        return [Framed(lines, "", self._end)] if lines else []

    def _broken(self, line: bytes, length: int) -> Framed:
        self._end += length
        note = f"a line of more than {self._max:,} bytes, the limit for one item"
        return Framed([line[: self._kept]], note, self._end)
