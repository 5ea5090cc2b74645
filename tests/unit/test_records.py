"""Records: the same record gives the same bytes; bytes of another format stop the reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UnknownRecord
from pipeline.records import (
    FORMAT,
    Counted,
    DeadLetter,
    Exemplar,
    RawRecord,
    ScoreSlice,
    Signal,
    SignalSlice,
    decode,
    encode,
)


def scored() -> ScoreSlice:
    signals = [
        Signal(3, "id", 5, 1, False, "text é \x00", "web", ("h1",), 7, None),
        Signal(4, "", 6, 1, True, "", "", (), 0, Counted(1, 2)),
    ]
    dead = [DeadLetter(5, 9, "json", "web", b"\xff{", "broken", "k:0")]
    return ScoreSlice(SignalSlice("s", "d", "s/p", 3, 6, True, 6, [1], signals, 0, dead), "m", [0.25, 0.0], ["x", ""])


def test_a_record_comes_back_as_it_was() -> None:
    assert decode(encode(scored()), ScoreSlice) == scored()
    assert decode(memoryview(encode(scored())), ScoreSlice) == scored()


def test_the_same_record_gives_the_same_bytes() -> None:
    assert encode(scored()) == encode(decode(encode(scored()), ScoreSlice))


@pytest.mark.parametrize("first", [0, 2, 255])
def test_a_record_of_another_format_is_refused_with_what_to_do(first: int) -> None:
    with pytest.raises(UnknownRecord, match=rf"a RawRecord of format {first} .* knows format {FORMAT}; run the newer"):
        decode(bytes((first,)) + encode(RawRecord(0, 0))[1:], RawRecord)


def test_nothing_is_no_record() -> None:
    with pytest.raises(UnknownRecord, match="format nothing"):
        decode(b"", RawRecord)


@settings(max_examples=150)
@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 10_000))
def test_damaged_bytes_raise_nothing_but_unknown_record(at: int, flip: int, cut: int) -> None:
    data = bytearray(encode(scored()))
    data[at % len(data)] ^= flip
    for damaged in (bytes(data), bytes(data[: cut % len(data)])):
        try:
            decode(damaged, ScoreSlice)
        except UnknownRecord:
            pass


def test_a_record_counts_its_entries() -> None:
    assert RawRecord(5, 0, payloads=[b"a", b"b"]).end == 7
    assert RawRecord(5, 0, kind="heartbeat", time_us=1).end == 6
    assert RawRecord(5, 0, kind="define", note="{}").end == 6


def test_evidence_is_ordered_by_score_and_then_by_id() -> None:
    made = [Exemplar(-500_000, "b", 0, "", ""), Exemplar(-500_000, "a", 9, "", ""), Exemplar(-900_000, "c", 0, "", "")]
    assert [e.id for e in sorted(made)] == ["c", "a", "b"]
    assert made[0].score == 0.5


def test_an_item_without_an_id_is_known_by_its_place() -> None:
    first, second = scored().slice.signals
    assert first.identity("s/p") == "id"
    assert second.identity("s/p") == "s/p@4"
