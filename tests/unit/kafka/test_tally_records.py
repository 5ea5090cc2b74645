"""What a scorer says to a bucket: in order, and in records that Kafka takes."""

from __future__ import annotations

from pipeline.kafka.score import _batches
from pipeline.kafka.topics import MAX_MESSAGE_BYTES
from pipeline.records import Exemplar, Tally, TallySlice, encode
from pipeline.tallies import EXEMPLAR_CHARACTERS, EXEMPLARS


def test_slices_full_of_long_exemplars_go_into_several_records() -> None:
    exemplars = [Exemplar(-1, f"id{n}", 0, "source", "ж" * EXEMPLAR_CHARACTERS, "") for n in range(EXEMPLARS)]
    tallies = {0: {(f"topic:{n}", ""): Tally(5, 5, {}, exemplars, {}) for n in range(64)}}
    slices = [
        TallySlice(
            stream="s", definition="d", bucket=0, partition="s/p/0", start=n, end=n + 1, begins=n == 0,
            watermark_us=0, touched=[0], model="m", tallies=tallies, ends=False, reached_us=0,
        )
        for n in range(64)
    ]  # fmt: skip
    batches = _batches(0, slices)
    assert [slice.start for batch in batches for slice in batch.slices] == list(range(64))
    assert max(len(encode(batch)) for batch in batches) < MAX_MESSAGE_BYTES / 2


def test_empty_slices_share_a_record() -> None:
    empty = TallySlice(
        stream="s", definition="d", bucket=0, partition="s/p/0", start=0, end=1, begins=True,
        watermark_us=0, touched=[], model="m", tallies={}, ends=False, reached_us=0,
    )  # fmt: skip
    assert len(_batches(0, [empty] * 64)) == 1
    assert _batches(0, []) == []
