"""The body of a push: bytes to items. Pure; every item keeps the bytes that it came in."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

import msgspec

from pipeline.records import Form
from pipeline.sources import framed_body
from pipeline.sources.framed_body import MAX_ITEMS, FramedItems
from pipeline.sources.problem import Problem

MEDIA_TYPES = ("application/json", "application/x-ndjson", "text/plain")

_elements = msgspec.json.Decoder(list[msgspec.Raw])
_one = msgspec.json.Decoder(msgspec.Raw)
# What counts where elements are counted: brackets, commas, and texts, for what is in them does not. A text may lack its
# end: a search that then went on inside of it would take the square of its length.
_MARKS = re.compile(rb'[][{},]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class Encoding(NamedTuple):
    """How a body is to be read."""

    media_type: str
    gzip: bool


def negotiate(content_type: str, content_encoding: str) -> Encoding:
    """What the headers of a push say. Raises Problem (415) when it is nothing that can be read."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type not in (*MEDIA_TYPES, framed_body.MEDIA_TYPE):
        said = f"{media_type[:100]!r}" if media_type else "nothing"
        raise Problem(
            415, f"Content-Type says {said}; send {', '.join(MEDIA_TYPES)}", {"Accept-Post": ", ".join(MEDIA_TYPES)}
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise Problem(415, f"Content-Type names the charset {value[:100]!r}; send UTF-8")
    encoding = content_encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Problem(
            415, f"Content-Encoding says {encoding[:100]!r}; send gzip or nothing", {"Accept-Encoding": "gzip"}
        )
    return Encoding(media_type, encoding.endswith("gzip"))


def read_push(body: bytes, encoding: Encoding, max_bytes: int) -> FramedItems:
    """The items of a push, at least one. Raises Problem: 400, 413."""
    if encoding.media_type != framed_body.MEDIA_TYPE:
        return FramedItems(*read_items(body, encoding, max_bytes))
    items = framed_body.decode(unpack(body, max_bytes) if encoding.gzip else body)
    if not items.payloads:
        raise Problem(400, "the body holds no item")
    if len(items.payloads) > MAX_ITEMS:
        raise _too_many()
    return items


def read_items(body: bytes, encoding: Encoding, max_bytes: int) -> tuple[Form, list[bytes]]:
    """The form and the payloads of a push, at least one.

    A line of NDJSON may hold anything: what cannot be read becomes a dead letter, and the other lines count.
    Raises Problem: 400 for what cannot be unpacked, is no JSON or has no item; 413 when it is more than
    `max_bytes` after unpacking, or more than MAX_ITEMS items.
    """
    if encoding.gzip:
        body = unpack(body, max_bytes)
    if encoding.media_type == "application/json":
        payloads = _json(body)
    else:
        if body.count(b"\n") >= MAX_ITEMS:  # before there is an object for each
            raise _too_many()
        payloads = [line.rstrip(b"\r") for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
        payloads = [line for line in payloads if line and not line.isspace()]
    if not payloads:
        raise Problem(400, "the body holds no item")
    if len(payloads) > MAX_ITEMS:
        raise _too_many()
    return ("line" if encoding.media_type == "text/plain" else "json"), payloads


def unpack(body: bytes, max_bytes: int) -> bytes:
    """What gzip packed, one member or several; never makes more than `max_bytes`. Raises Problem (400, 413)."""
    parts: list[bytes] = []
    room = max_bytes
    while body:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(body, room + 1)
        except zlib.error:
            raise Problem(400, "the body is not sound gzip, as Content-Encoding says it is") from None
        room -= len(part)
        if room < 0:
            raise too_large(max_bytes)
        if not member.eof:
            raise Problem(400, "the gzip body is cut off")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


def too_large(max_bytes: int) -> Problem:
    """The refusal of a body that is too long."""
    return Problem(413, f"the body is longer than {max_bytes:,} bytes (unpacked); send it in parts")


def _too_many() -> Problem:
    return Problem(413, f"the body holds more than {MAX_ITEMS:,} items; send it in parts")


def _json(body: bytes) -> list[bytes]:
    body = body.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if not body:
        return []
    if body[:1] not in b"[{":
        raise Problem(400, "the body must be a JSON object, or an array of objects")
    try:
        if body[:1] == b"[":
            if _crowded(body):
                raise _too_many()
            return [bytes(element) for element in _elements.decode(body)]
        _one.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    return [body]


def _crowded(array: bytes) -> bool:
    """Whether an array has more than MAX_ITEMS elements, told without an object for each. Of an array with fewer commas
    it is known at once. What is no JSON is read up to where it breaks, and may be called crowded for what follows."""
    if array.count(b",") < MAX_ITEMS:
        return False
    depth = commas = 0
    for found in _MARKS.finditer(array):
        mark = array[found.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        elif mark in b"," and depth == 1:
            commas += 1
            if commas == MAX_ITEMS:
                return True
    return False
