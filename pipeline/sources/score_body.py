"""The bodies of `POST /v1/score` and `POST /v1/explain`: texts in, scores out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec
from msgspec.structs import astuple

from pipeline.scoring.answers import Answer, Refusal
from pipeline.scoring.lenient import elements
from pipeline.scoring.submissions import Fields, Submission, of_json
from pipeline.sources.problem import Problem

#: More texts than this must come in several requests. So many headlines take two cores some 2 s, so many texts of 256
#: tokens 22.
MOST_TEXTS = 1000


_NONE = msgspec.Raw()
#: A place for each item, and one more that says that there are too many: what comes after is passed, not held.
_Items = msgspec.defstruct(
    "_Items", [(f"item_{i}", msgspec.Raw, _NONE) for i in range(1, MOST_TEXTS + 2)], array_like=True
)
_Asked = msgspec.defstruct("_Asked", [("items", _Items)], forbid_unknown_fields=True)


class _Said(msgspec.Struct):
    model: str
    results: Sequence[Answer | Refusal]


_decode = msgspec.json.Decoder(_Asked).decode
_encode = msgspec.json.Encoder().encode


def read_score(body: bytes, most: int = MOST_TEXTS) -> list[Submission]:
    """The texts in a body, in order; one that cannot be read is a submission with an error that says its number, from
    1. Raises Problem: 400 for what is no object with items, 413 for more than `most`, which is MOST_TEXTS or less."""
    items = _items(body, most)
    if len(items) > most:
        raise Problem(413, f"the body holds {len(items):,} items or more, {most:,} are read; send them in parts")
    read = [of_json(item, Fields()) for item in items]
    return [one._replace(error=f"item {i}: {one.error}") if one.error else one for i, one in enumerate(read, 1)]


def score_answer(model: str, results: Sequence[Answer | Refusal]) -> bytes:
    """The body of the answer."""
    return _encode(_Said(model, results))


def _items(body: bytes, most: int) -> list[bytes]:
    """The items, of more than `most` one more than that."""
    try:
        try:
            (items,) = astuple(_decode(body))
            return [bytes(item) for item in islice(astuple(items), most + 1) if item is not _NONE]
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"\\u" not in body:
                raise
            return list(islice(elements(body, "items"), most + 1))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = '{"items": [{"id": ..., "text": ...}, ...]}'
        raise Problem(400, f"the body must be {wanted}: {error}") from None
