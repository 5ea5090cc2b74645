"""The digest of transitions: two runs that told people the same have the same digest, and no others do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from pipeline.records import Transition


def digest(transitions: Iterable[Transition]) -> str:
    """SHA-256, in hexadecimal, over every field of every transition.

    The order in which streams and groups interleave is no part of it: transitions are sorted by stream, tick, group,
    direction and sequence."""
    ordered = sorted(
        transitions, key=lambda t: (t.stream, t.tick, t.group, t.direction, t.sequence, t.definition, t.run, t.id)
    )
    digester = hashlib.sha256()
    for transition in ordered:
        line = msgspec.json.encode(transition, order="sorted")
        digester.update(len(line).to_bytes(8, "big") + line)
    return digester.hexdigest()
