"""Decoding what a topic holds, with errors that say where it lies."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pipeline.errors import UnknownRecord
from pipeline.kafka.step import Place
from pipeline.records import decode

R = TypeVar("R", bound=msgspec.Struct)


def decoded(place: Place, offset: int | None, value: bytes | None, kind: type[R]) -> R:
    """The record at an offset. Raises UnknownRecord that names topic, partition and offset."""
    try:
        return decode(value or b"", kind)
    except UnknownRecord as error:
        raise UnknownRecord(f"{place.topic}/{place.partition} at {offset}: {error}") from error
