"""Decoding records of a topic: what cannot be read is named by its place."""

from __future__ import annotations

import pytest

from pipeline.errors import UnknownRecord
from pipeline.kafka.decoding import decoded
from pipeline.kafka.step import Place
from pipeline.records import TallyBatch, encode

PLACE = Place("tocsin.tallies", 3)


def test_a_record_is_what_was_encoded() -> None:
    assert decoded(PLACE, 7, encode(TallyBatch(3, [])), TallyBatch) == TallyBatch(3, [])


@pytest.mark.parametrize("value", [None, b"", b"\x09", b"\x01\xc1"])
def test_what_nobody_of_ours_wrote_is_named_by_topic_partition_and_offset(value: bytes | None) -> None:
    with pytest.raises(UnknownRecord, match=r"^tocsin\.tallies/3 at 7: "):
        decoded(PLACE, 7, value, TallyBatch)
