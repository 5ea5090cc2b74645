"""What leaves a command: JSON for programs, lines for people; neither lets hostile text act on a terminal."""

from __future__ import annotations

import re
import sys
from typing import Any

import msgspec

# What JSON allows as it is and a terminal or a line reader may obey: DEL, C1 (U+009B begins an escape sequence, as
# ESC [ does), the separators of lines and paragraphs, and what turns the direction of writing.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` with everything that is not printable as an escape that is shown, not obeyed: `\\x1b`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_line(value: Any) -> bytes:
    """One object as a line of JSON; the same object gives the same bytes."""
    text = msgspec.json.encode(value).decode()
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def print_json(*values: Any) -> None:
    """Objects on standard output, one a line."""
    sys.stdout.buffer.write(b"".join(map(json_line, values)))
    sys.stdout.buffer.flush()


def show(text: str) -> None:
    """A line for people, on standard output."""
    print(visible(text), flush=True)


def say(text: str) -> None:
    """A line for people, on standard error."""
    print(visible(text), file=sys.stderr, flush=True)
