"""The bodies of `POST /v1/score`: texts in, scores out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.scoring.answers import Answer, Refusal
from pipeline.scoring.lenient import elements
from pipeline.scoring.submissions import Fields, Submission, of_json
from pipeline.sources.problem import Problem

#: More texts than this must come in several requests: each has its answer within seconds.
MOST_TEXTS = 1000


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


class _Said(msgspec.Struct):
    model: str
    results: Sequence[Answer | Refusal]


_decode = msgspec.json.Decoder(_Asked).decode
_encode = msgspec.json.Encoder().encode


def read_score(body: bytes) -> list[Submission]:
    """The texts in a body, in order; one that cannot be read is a submission with an error that says its number, from
    1. Raises Problem: 400 for what is no object with items, 413 for more than MOST_TEXTS."""
    items = _items(body)
    if len(items) > MOST_TEXTS:
        raise Problem(413, f"the body holds {len(items):,} items, more than {MOST_TEXTS:,}; send them in parts")
    read = [of_json(item, Fields()) for item in items]
    return [one._replace(error=f"item {i}: {one.error}") if one.error else one for i, one in enumerate(read, 1)]


def score_answer(model: str, results: Sequence[Answer | Refusal]) -> bytes:
    """The body of the answer."""
    return _encode(_Said(model, results))


def _items(body: bytes) -> list[bytes]:
    try:
        try:
            return list(map(bytes, _decode(body).items))
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"\\u" not in body:
                raise
            return list(elements(body, "items"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = '{"items": [{"id": ..., "text": ...}, ...]}'
        raise Problem(400, f"the body must be {wanted}: {error}") from None
