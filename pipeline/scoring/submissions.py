"""Submissions: texts that someone wants scored, one JSON object each. Pure.

What cannot be read is a submission with an error: it gets its answer in its place, and the others theirs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

import msgspec

from pipeline.scoring.kind import KINDS
from pipeline.scoring.lenient import members
from pipeline.scoring.template import SCORED_CHARACTERS

#: Longest id, in bytes of JSON: it is held until its answer is written.
MAX_ID = 1000

#: Why a score means little. `empty`: no text, or only white space; `no_words`: no letter in what was read; `cut`: the
#: text is longer than what is ever read; `replaced`: halves of surrogate pairs are read as question marks, control
#: characters not at all.
Flag = Literal["empty", "no_words", "cut", "replaced"]

NO_ID = msgspec.Raw(b"null")

_REPLACED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")  # those left out are white space
_LETTER = re.compile(r"[^\W\d_]")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_UTF_8 = "not UTF-8; make it so first: iconv -f latin1 -t utf-8"
_TOO_DEEP = "not JSON that can be read: it is nested too deeply"
_TYPES = {"{": "an object", "[": "an array", "t": "true", "f": "false", "n": "null", '"': "a text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What the parts of a submission are called."""

    text: str = "text"
    id: str = "id"
    kind: str = "kind"


class Submission(NamedTuple):
    """One text. `id` is JSON as it came, or null; `text` its first 2,000 characters, more are never read; `kind` is ""
    when nobody says; `error` says why there is nothing to score."""

    id: msgspec.Raw = NO_ID
    text: str = ""
    kind: str = ""
    flags: tuple[Flag, ...] = ()
    error: str = ""


class _Broken(Exception):
    pass


def refused(why: str, id: msgspec.Raw = NO_ID) -> Submission:
    """A submission that could not be read."""
    return Submission(id=id, error=why)


def of_text(text: str, *, id: msgspec.Raw = NO_ID, kind: str = "") -> Submission:
    """A submission of this text, with its flags. Lone surrogates stay: they are scored as unknown characters."""
    head = text[:SCORED_CHARACTERS]
    flags: list[Flag] = []
    if not head or head.isspace():
        flags.append("empty")
    elif not _LETTER.search(head):
        flags.append("no_words")
    if len(text) > len(head):
        flags.append("cut")
    if _REPLACED.search(head):
        flags.append("replaced")
    return Submission(id, head, kind, tuple(flags))


def of_json(data: bytes, fields: Fields, *, kind: str = "") -> Submission:
    """The submission in one JSON object; with `kind`, what it says of its kind is not looked at. Never raises."""
    id = NO_ID
    try:
        given = _object(data)
        id = _id(given.get(fields.id))
        text = given.get(fields.text)
        if text is None:
            _refuse_without_text(fields.text, given)
        return of_text(_text(text, fields.text), id=id, kind=kind or _kind(given.get(fields.kind), fields.kind))
    except _Broken as broken:
        return refused(str(broken), id)


def _object(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _decode(data)
    except UnicodeDecodeError:
        raise _Broken(_NOT_UTF_8) from None
    except RecursionError:
        raise _Broken(_TOO_DEEP) from None
    except msgspec.ValidationError as error:
        raise _Broken(f'not an object ({error}); write {{"id": ..., "text": ...}}') from None
    except msgspec.DecodeError as error:
        return _object_leniently(data, str(error))


def _object_leniently(data: bytes, why: str) -> dict[str, msgspec.Raw]:
    try:
        if b"\\u" in data:
            return {name: msgspec.Raw(value) for name, value in members(data)}
    except RecursionError:
        raise _Broken(_TOO_DEEP) from None
    except ValueError as error:
        why = str(error)
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _Broken(_NOT_UTF_8) from None
    raise _Broken(f"not JSON ({why})")


def _type(raw: msgspec.Raw) -> str:
    return _TYPES.get(chr(bytes(raw)[0]), "a number")


def _id(raw: msgspec.Raw | None) -> msgspec.Raw:
    if raw is None:
        return NO_ID
    data = bytes(raw)
    if _type(raw) not in ("a text", "a number", "null"):
        raise _Broken(f"the id is {_type(raw)}; it must be a text or a number")
    if len(data) > MAX_ID:
        raise _Broken(f"the id has {len(data):,} bytes; at most {MAX_ID:,} are kept until the answer is written")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _Broken("the id is not UTF-8") from None
    return msgspec.Raw(data)  # a copy: the line can go


def _text(raw: msgspec.Raw, name: str) -> str:
    if _type(raw) != "a text":
        raise _Broken(f'"{name[:100]}" is {_type(raw)}; it must be a text')
    try:
        try:
            return msgspec.json.decode(raw, type=str)
        except msgspec.DecodeError:
            return str(json.loads(bytes(raw).decode()))
    except UnicodeDecodeError:
        raise _Broken(f"the text is {_NOT_UTF_8}") from None


def _kind(raw: msgspec.Raw | None, name: str) -> str:
    if raw is None or _type(raw) == "null":
        return ""
    try:
        kind = msgspec.json.decode(raw, type=str).strip() if _type(raw) == "a text" else None
    except (UnicodeDecodeError, msgspec.DecodeError):
        kind = None
    if kind and kind not in KINDS:
        raise _Broken(f'"{name[:100]}" is {kind[:50]!r}; write {", ".join(KINDS)}, or leave it out')
    if kind is None:
        raise _Broken(f'"{name[:100]}" is {_type(raw)}; write {", ".join(KINDS)}, or leave it out')
    return kind


def _refuse_without_text(name: str, given: dict[str, msgspec.Raw]) -> NoReturn:
    there = ", ".join(f'"{field[:40]}"' for field in list(given)[:10])
    raise _Broken(f'there is no "{name[:100]}"; the object has {there or "nothing"}')
