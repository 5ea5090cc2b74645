"""Bodies of items that their sender has framed: any bytes are items or a clear refusal."""

from __future__ import annotations

import gzip
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import push_body
from pipeline.sources.framed_body import MAX_ITEMS, MEDIA_TYPE, FramedItems, encode
from pipeline.sources.problem import Problem
from pipeline.sources.push_body import Encoding, negotiate, read_push

FRAMED = Encoding(MEDIA_TYPE, False)


def refusal(body: bytes, max_bytes: int = 10**6) -> Problem:
    with pytest.raises(Problem) as caught:
        read_push(body, FRAMED, max_bytes)
    return caught.value


def test_items_arrive_as_they_were_framed() -> None:
    items = FramedItems("row", [b'{"text":"a"}', b"\xff\n"], ["1", ""])
    assert read_push(encode(items), FRAMED, 10**6) == items
    broken = FramedItems("broken", [b"half"], ["7"], "it is torn")
    assert read_push(gzip.compress(encode(broken)), Encoding(MEDIA_TYPE, True), 10**6) == broken
    assert negotiate(MEDIA_TYPE, "gzip") == Encoding(MEDIA_TYPE, True)


def test_what_is_not_well_framed_is_refused() -> None:
    assert "no item" in refusal(encode(FramedItems("line", []))).detail
    assert "2 ids for 1 items" in refusal(encode(FramedItems("line", [b"a"], ["1", "2"]))).detail
    assert "at most" in refusal(encode(FramedItems("line", [b"a"], ["x" * 301]))).detail
    assert "at most" in refusal(encode(FramedItems("broken", [b"a"], [], "x" * 1001))).detail
    assert refusal(msgspec.msgpack.encode(["rows", [b"a"]])).status == 400
    assert refusal(gzip.compress(b"a")).status == 400


def test_too_many_items_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_body, "MAX_ITEMS", 3)
    assert refusal(encode(FramedItems("line", [b"a"] * 4))).status == 413
    packed = gzip.compress(encode(FramedItems("line", [bytes(100)])))
    with pytest.raises(Problem) as caught:
        read_push(packed, Encoding(MEDIA_TYPE, True), 50)
    assert caught.value.status == 413


@pytest.mark.parametrize("ids", [False, True])
def test_too_many_items_are_refused_before_there_is_an_object_for_each(ids: bool) -> None:
    many = [f"{n:x}" for n in range(MAX_ITEMS + 1)]
    body = encode(FramedItems("line", [b"a"], many) if ids else FramedItems("line", [one.encode() for one in many]))
    tracemalloc.start()
    try:
        assert refusal(body, len(body)).status == 413
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60))
def test_any_bytes_are_items_or_a_clear_refusal(body: bytes) -> None:
    status = 202
    try:
        assert read_push(body, FRAMED, 100).payloads
    except Problem as problem:
        status = problem.status
    assert status in (202, 400, 413)
