"""The bodies of `POST /v1/score`: texts in, scores out. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from pipeline.scoring.answers import Answer, Refusal
from pipeline.scoring.submissions import Fields, Submission, of_json, read_leniently
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
    read = [of_json(bytes(item), Fields()) for item in items]
    return [one._replace(error=f"item {i}: {one.error}") if one.error else one for i, one in enumerate(read, 1)]


def score_answer(model: str, results: Sequence[Answer | Refusal]) -> bytes:
    """The body of the answer."""
    return _encode(_Said(model, results))


def _items(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode(body).items
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Halves of surrogate pairs, which Python's own reader takes.
        read = read_leniently(body) if b"\\u" in body else None
        if isinstance(read, dict) and set(read) == {"items"} and isinstance(read["items"], list):
            return [msgspec.Raw(json.dumps(item).encode()) for item in read["items"]]
        wanted = '{"items": [{"id": ..., "text": ...}, ...]}'
        raise Problem(400, f"the body must be {wanted}: {error}") from None
