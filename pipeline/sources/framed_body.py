"""The body of a push whose sender has framed its items already: what `tocsin push` sends. Pure.

One MessagePack array: form, payloads, an id for each, and why a broken one is broken. It says what the other media
types cannot: rows under Tocsin's own names, ids that are no part of an item, items that could not be framed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.records import Form
from pipeline.sources.problem import Problem

MEDIA_TYPE = "application/vnd.tocsin.items"

#: More items than this must come in several pushes.
MAX_ITEMS = 2**18

# MessagePack says a length before what it counts, so this is looked at before there is an object for each.
_FEW = msgspec.Meta(max_length=MAX_ITEMS)
_MAX_ID = 300
_MAX_NOTE = 1000


class FramedItems(msgspec.Struct, array_like=True, frozen=True):
    """Items as a sender has framed them. `ids` is empty, or holds one for each; `note` goes with the form "broken"."""

    form: Form
    payloads: Annotated[list[bytes], _FEW]
    ids: Annotated[list[str], _FEW] = []
    note: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FramedItems).decode


def encode(items: FramedItems) -> bytes:
    """The body of a push."""
    return _encode(items)


def decode(body: bytes) -> FramedItems:
    """The items in a body. Raises Problem (400, 413)."""
    try:
        items = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        status = 413 if f"length <= {MAX_ITEMS}" in str(error) else 400
        raise Problem(status, f"the body is not {MEDIA_TYPE}: {error}") from None
    if items.ids and len(items.ids) != len(items.payloads):
        raise Problem(400, f"the body brings {len(items.ids)} ids for {len(items.payloads)} items")
    if len(items.note) > _MAX_NOTE or any(len(id) > _MAX_ID for id in items.ids):
        raise Problem(400, f"an id has at most {_MAX_ID} characters, a note at most {_MAX_NOTE}")
    return items
