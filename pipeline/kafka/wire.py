"""The wire form of a raw record: one Kafka message an entry, readable to anything that speaks Kafka. Pure.

An item is a message whose value is the item as it came. Headers, all optional: `source` names the sender (else the
topic's source), `form` says how to read it ("json", "line", "row", "broken"; else by its first byte), `id` is an id
that the transport brought, `note` says why a broken one is. A header `tocsin` makes it a control record: "heartbeat"
(value: its time in microseconds), "idle" (value: for how many microseconds before its append nothing came), "define"
(value: a turn as JSON) or "leave". Tocsin itself never writes "leave": it holds at once, and a source that the stream
file leaves out leaves at a tick, by the "define" of the definition that lacks it. The received time is the broker's
append time, in whole milliseconds.

Nothing that a stranger writes can stop a partition: what is no control record that Tocsin knows is a broken item, and
a definition that Tocsin has not announced is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast, get_args

import msgspec
import xxhash

from pipeline import streams
from pipeline.instants import EARLIEST_US, LATEST_US
from pipeline.records import Form, RawRecord

Headers = list[tuple[str, str | bytes | None]]

_FORMS = frozenset(get_args(Form))
_MAX_NAME = 200
# Stands for headers that the client cannot read; no header has this name, since a sender's is UTF-8.
_UNREADABLE = "\udcff"
# Room for the longest Idempotency-Key, a colon and a number.
_MAX_ID = 300


class Message(Protocol):
    """What is read of a message; `confluent_kafka.Message` is one."""

    def offset(self) -> int | None: ...

    def timestamp(self) -> tuple[int, int]: ...

    def value(self) -> bytes | None: ...

    def headers(self) -> Any:
        """Pairs of a name and bytes (or None), or None."""


def item_headers(*, form: Form, source: str, id: str = "", note: str = "") -> Headers:
    """The headers of an item."""
    headers: Headers = [("form", form.encode()), ("source", source.encode("utf-8", "replace"))]
    if id:
        headers.append(("id", id.encode("utf-8", "replace")))
    if note:
        headers.append(("note", note.encode("utf-8", "replace")))
    return headers


def item_message(
    payload: bytes, *, form: Form, source: str, usual_source: str, id: str = "", note: str = ""
) -> tuple[bytes, Headers | None]:
    """Value and headers of an item in a topic whose source is `usual_source`; no header that a reader would guess.

    A message without headers is smaller, and read several times faster.
    """
    if form == _guessed(payload) and source == usual_source and not id and not note:
        return payload, None
    return payload, item_headers(form=form, source=source, id=id, note=note)


def heartbeat(time_us: int) -> tuple[bytes, Headers]:
    """Value and headers of a heartbeat that says: nothing before `time_us` is still to come."""
    return str(time_us).encode(), [("tocsin", b"heartbeat")]


def idle(idle_us: int) -> tuple[bytes, Headers]:
    """Value and headers of a heartbeat of a partition that stood at its end for `idle_us`."""
    return str(idle_us).encode(), [("tocsin", b"idle")]


def define(turn: streams.Turn) -> tuple[bytes, Headers]:
    """Value and headers of the control record by which a partition gets its definition."""
    return streams.to_note(turn).encode(), [("tocsin", b"define")]


def raw_records(
    messages: Iterable[Message],
    *,
    position: int,
    source: str,
    knows: Callable[[streams.Turn], bool] = lambda turn: True,
) -> list[RawRecord]:
    """Consecutive messages of a raw partition, read from `position` on, as raw records without gap or overlap.

    Messages before `position` are left out. Offsets that the broker gave to no message are holes. Neighbours that
    share received time, form and sender share a record; how they are grouped changes nothing. `knows` says whether a
    definition was announced by Tocsin.
    """
    records: list[RawRecord] = []
    payloads: list[bytes] = []
    ids: list[str] | None = None
    begin, received_us, form, sender = position, 0, "", ""

    def flush() -> None:
        nonlocal payloads, ids
        if payloads:
            records.append(RawRecord(begin, received_us, "items", cast(Form, form), sender, payloads, ids))
        payloads, ids = [], None

    for message in messages:
        offset = message.offset()
        if offset is None or offset < position:
            continue
        if offset > position:
            flush()
            records.append(RawRecord(position, 0, "hole", size=offset - position))
        # A broker's clock lies in there; a sender's, in a topic that takes its word, may not.
        here_us = min(max(message.timestamp()[1] * 1000, EARLIEST_US), LATEST_US)
        value = message.value()
        try:
            headers = message.headers()
        except Exception:  # what the client raises for a name that is no UTF-8 it does not say
            headers = [(_UNREADABLE, None)]
        if headers or value is None:
            one = _record(offset, here_us, value, headers or (), source, knows)
            plain = one.kind == "items" and not one.note
            id, payload = (one.ids[0] if one.ids else ""), (one.payloads[0] if plain else b"")
            this = (one.form, one.source)
        else:
            one, plain, id, payload = None, True, "", value
            this = (_guessed(value), source)
        if not plain:
            flush()
            assert one is not None
            records.append(one)
        else:
            if payloads and (here_us != received_us or this != (form, sender)):
                flush()
            if not payloads:
                begin, received_us, (form, sender) = offset, here_us, this
            if id and ids is None:
                ids = [""] * len(payloads)
            payloads.append(payload)
            if ids is not None:
                ids.append(id)
        position = offset + 1
    flush()
    return records


def _record(
    offset: int,
    received_us: int,
    value: bytes | None,
    headers: Sequence[tuple[str, str | bytes | None]],
    source: str,
    knows: Callable[[streams.Turn], bool],
) -> RawRecord:
    """One message with headers as one record."""
    said = {name: _text(content) for name, content in headers}
    kind = said.get("tocsin")
    if value is None:
        return _broken(offset, received_us, b"", source, "a message without a value")
    if _UNREADABLE in said:
        return _broken(offset, received_us, value, source, "a header whose name is no UTF-8")
    if kind is not None:
        return _control(offset, received_us, kind, value, source, knows)
    form = said.get("form") or _guessed(value)
    sender = (said.get("source") or source)[:_MAX_NAME]
    ids = [_bounded(said["id"])] if said.get("id") else None
    if form not in _FORMS:
        return _broken(offset, received_us, value, sender, f"its header says the form {form[:40]!r}, which is none")
    note = (said.get("note") or "the sender could not read it") if form == "broken" else ""
    return RawRecord(offset, received_us, "items", cast(Form, form), sender, [value], ids, 0, note[:1000])


def _text(content: str | bytes | None) -> str:
    return content if isinstance(content, str) else (content or b"").decode("utf-8", "replace")


def _guessed(value: bytes) -> Form:
    """The form of an item that says none."""
    return "json" if value[:1] == b"{" else "line"


def _bounded(id: str) -> str:
    """The id itself; of a long one its beginning and a hash: two that only begin alike are two items."""
    return id if len(id) <= _MAX_ID else id[:_MAX_ID] + xxhash.xxh3_128_hexdigest(id.encode("utf-8", "replace"))


def _control(
    offset: int, received_us: int, kind: str, value: bytes, source: str, knows: Callable[[streams.Turn], bool]
) -> RawRecord:
    if kind in ("heartbeat", "idle"):
        digits = value.removeprefix(b"-")
        if digits.isdigit() and len(digits) < 20:
            time_us = int(value) if kind == "heartbeat" else received_us - int(value)
            if EARLIEST_US <= time_us <= (LATEST_US if kind == "heartbeat" else received_us):
                return RawRecord(offset, received_us, "heartbeat", time_us=time_us)
    elif kind == "leave":
        return RawRecord(offset, received_us, "leave")
    elif kind == "define":
        try:
            note = value.decode()
            if knows(streams.from_note(note)):
                return RawRecord(offset, received_us, "define", note=note)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return _broken(offset, received_us, value, source, f"no control record that Tocsin knows: {kind[:40]!r}")


def _broken(offset: int, received_us: int, value: bytes, source: str, note: str) -> RawRecord:
    return RawRecord(offset, received_us, "items", "broken", source, [value], None, 0, note)
