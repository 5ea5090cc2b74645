"""What an input holds: JSON lines, a table or plain lines, seen from its name and its beginning. Pure."""

from __future__ import annotations

import csv
import re
from itertools import islice
from typing import Literal

from pipeline.errors import SourceError

Form = Literal["json", "csv", "line"]

LOOKED_AT_LINES = 10
LOOKED_AT_BYTES = 64 * 1024
BOM = b"\xef\xbb\xbf"

#: With a larger part of its characters not UTF-8, a beginning is no text: of Western text in latin-1 it is far less.
_MOST_BROKEN = 0.25


#: How an object begins, unlike a line of bytes that happens to begin with a brace.
_OBJECT = re.compile(rb'\{\s*["}]')


def form_of(name: str, head: bytes, asked: Literal["auto"] | Form, text: str) -> Form:
    """How to read what begins with `head`: as asked, else as its name ends, else as a table when the first line names
    the column of the text, as JSON lines when one of the first is an object, as a table when it has several columns.

    Raises SourceError for what is none of them: UTF-16, JSON over many lines, bytes that are no text.
    """
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in head[2:4]:
        raise SourceError(f"{name} is UTF-16; make it UTF-8 first: iconv -f utf-16 -t utf-8")
    lines = [line.strip() for line in islice(head.removeprefix(BOM).split(b"\n"), LOOKED_AT_LINES)]
    lines = [line for line in lines if line]
    first = lines[0] if lines else b""
    said = _named(name) if asked == "auto" else asked
    objects = any(line.startswith(b"{") for line in lines[1:]) or (first.startswith(b"{") and first != b"{")
    written = any(map(_OBJECT.match, lines))
    columns = _columns(first[:LOOKED_AT_BYTES].decode("utf-8", "replace"))
    texts = {"text", text.strip().lower(), *map(str.strip, text.lower().split(","))}
    has_text = not first.startswith((b"{", b"[")) and not texts.isdisjoint(columns)
    if said != "line" and not (written or has_text):
        _check_text(name, head)
    an_array = first == b"[" or first.startswith(b"[{") or (first.startswith(b"[") and not objects)
    if said in ("auto", "json") and (first == b"{" or an_array):
        what = "a JSON array" if an_array else "JSON over many lines"
        raise SourceError(f"{name} is {what}; write one object a line: jq -c '.[]' or jq -c . makes it so")
    if said != "auto":
        return said
    return "csv" if has_text or (not objects and len(columns) > 1) else "json"


def _named(name: str) -> Literal["auto"] | Form:
    """What the ending of a file's name says of it."""
    plain = name.lower().removesuffix(".gz")
    if plain.endswith((".csv", ".tsv")):
        return "csv"
    return "json" if plain.endswith((".jsonl", ".ndjson")) else "auto"


def _check_text(name: str, head: bytes) -> None:
    """Raises SourceError where the beginning is no text, or text that is mostly not UTF-8."""
    if b"\0" in head:
        raise SourceError(f"{name} is not text: it has NUL bytes; write it as JSON lines or CSV, in UTF-8")
    characters = head.decode("utf-8", "replace")
    if characters.count("\ufffd") > _MOST_BROKEN * len(characters):
        way_out = "if it is text in another encoding, make it UTF-8 first: iconv -f latin1 -t utf-8"
        raise SourceError(f"{name} is not text in UTF-8; {way_out}")


def _columns(header: str) -> list[str]:
    try:
        names = max((next(csv.reader([header], delimiter=d), []) for d in ",;\t"), key=len)
    except csv.Error:
        return []
    return [name.strip().lower() for name in names]
