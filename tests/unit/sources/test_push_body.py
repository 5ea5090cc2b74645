"""Reading the body of a push: every item keeps its bytes, and hostile bodies stay small."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources import push_body
from pipeline.sources.problem import Problem
from pipeline.sources.push_body import Encoding, negotiate, read_items, unpack
from pipeline.sources.push_limits import RateLimit, Room

JSON = Encoding("application/json", False)
NDJSON = Encoding("application/x-ndjson", False)
TEXT = Encoding("text/plain", False)
MAX = 2**20


def status_of(body: bytes, encoding: Encoding) -> int:
    with pytest.raises(Problem) as caught:
        read_items(body, encoding, MAX)
    return caught.value.status


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=5)


@settings(max_examples=60)
@given(OBJECTS, st.booleans(), st.sampled_from([None, 2]))
def test_the_elements_of_an_array_are_its_items_with_their_own_bytes(
    objects: list[dict[str, object]], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(objects, ensure_ascii=ascii_only, indent=indent).encode()
    form, payloads = read_items(body, JSON, MAX)
    assert form == "json"
    assert [json.loads(payload) for payload in payloads] == objects
    assert all(payload in body for payload in payloads)


@settings(max_examples=100)
@given(
    st.binary(max_size=60), st.sampled_from(["application/json", "application/x-ndjson", "text/plain"]), st.booleans()
)
def test_any_bytes_give_items_or_a_clear_refusal(body: bytes, media_type: str, packed: bool) -> None:
    status = 202
    try:
        _, payloads = read_items(body, Encoding(media_type, packed), 50)
        assert payloads
        assert sum(map(len, payloads)) <= 60
    except Problem as problem:
        status = problem.status
    assert status in (202, 400, 413)


def test_one_object_is_one_item() -> None:
    assert read_items(b'\xef\xbb\xbf {"a": [1, 2]}\n', JSON, MAX) == ("json", [b'{"a": [1, 2]}'])


@pytest.mark.parametrize("body", [b"{", b'{"a":1} {"b":2}', b"[{},", b"12", b'"x"', b"null", b"[" * 100_000, b"{]"])
def test_what_is_not_an_object_or_an_array_is_refused(body: bytes) -> None:
    assert status_of(body, JSON) == 400


@pytest.mark.parametrize("encoding", [JSON, NDJSON, TEXT])
@pytest.mark.parametrize("body", [b"", b" \r\n \n"])
def test_a_body_without_an_item_is_refused(body: bytes, encoding: Encoding) -> None:
    assert status_of(body, encoding) == 400


def test_every_line_of_ndjson_is_an_item_broken_or_not() -> None:
    assert read_items(b'{"a":1}\r\n\n{broken\n\xff\n{"b":2}', NDJSON, MAX) == (
        "json",
        [b'{"a":1}', b"{broken", b"\xff", b'{"b":2}'],
    )


def test_text_is_one_item_a_line_with_its_indentation() -> None:
    assert read_items(b"error: x\n\tat y\r\n", TEXT, MAX) == ("line", [b"error: x", b"\tat y"])


def test_gzip_is_unpacked_in_one_or_several_members() -> None:
    packed = gzip.compress(b"a\n") + gzip.compress(b"b")
    assert read_items(packed, Encoding("text/plain", True), MAX) == ("line", [b"a", b"b"])


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    tracemalloc.start()
    try:
        assert status_of(bomb, Encoding("text/plain", True)) == 413
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX
    finally:
        tracemalloc.stop()
    many = gzip.compress(bytes(2**19)) * 3
    assert status_of(many, Encoding("text/plain", True)) == 413
    assert len(unpack(gzip.compress(bytes(MAX)), MAX)) == MAX


_PACKED = gzip.compress(b"text", mtime=0)


@pytest.mark.parametrize("packed", [b"plain", _PACKED[:-3], _PACKED + b"rest"])
def test_broken_gzip_is_refused(packed: bytes) -> None:
    assert status_of(packed, Encoding("text/plain", True)) == 400


@pytest.mark.parametrize(("body", "encoding"), [(b"x\n" * 4, TEXT), (b"x\n" * 4, NDJSON), (b"[1,2,3,4]", JSON)])
def test_too_many_items_are_refused(monkeypatch: pytest.MonkeyPatch, body: bytes, encoding: Encoding) -> None:
    monkeypatch.setattr(push_body, "MAX_ITEMS", 3)
    assert status_of(body, encoding) == 413


@settings(max_examples=100)
@given(st.lists(VALUES | st.text('[]{},"\\'), min_size=1, max_size=6), st.booleans(), st.sampled_from([None, 2]))
def test_what_is_in_an_item_is_no_other_item(items: list[object], ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(items, ensure_ascii=ascii_only, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_body, "MAX_ITEMS", len(items))
        assert len(read_items(body, JSON, MAX)[1]) == len(items)
        patch.setattr(push_body, "MAX_ITEMS", len(items) - 1)
        assert status_of(body, JSON) == 413


def test_too_many_items_are_refused_before_there_is_an_object_for_each() -> None:
    body = b"[" + b"1," * (MAX - 1) + b"1]"
    tracemalloc.start()
    try:
        assert status_of(body, JSON) == 413
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)  # the body itself may be copied
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b'"\\', b'\\"', b'"', b'["', b"[[", b"{}", b'"\\",'])
def test_a_body_that_breaks_off_is_told_in_time_that_grows_with_its_length_alone(piece: bytes) -> None:
    body = b"[[" + b"1," * push_body.MAX_ITEMS + piece * 100_000
    before = time.process_time()
    assert status_of(body, JSON) == 400
    assert time.process_time() - before < 10  # some .3 s


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "expected"),
    [
        ("application/json", "", JSON),
        ("Text/Plain; charset=UTF-8", "identity", TEXT),
        ("application/x-ndjson", "GZIP", Encoding("application/x-ndjson", True)),
        ("", "", None),
        ("text/html", "", None),
        ("text/plain; charset=latin-1", "", None),
        ("text/plain", "br", None),
        ("text/plain", "gzip, gzip", None),
    ],
)
def test_the_headers_say_how_to_read_a_body_or_it_is_refused(
    content_type: str, content_encoding: str, expected: Encoding | None
) -> None:
    if expected is not None:
        assert negotiate(content_type, content_encoding) == expected
        return
    with pytest.raises(Problem) as caught:
        negotiate(content_type, content_encoding)
    assert caught.value.status == 415


def test_a_client_is_slowed_to_its_rate_and_owes_what_it_took_too_much() -> None:
    now = 100.0
    limit = RateLimit(10, lambda: now)
    limit.take("a", 35)
    with pytest.raises(Problem) as caught:
        limit.take("a", 1)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "3")
    limit.take("b", 1)
    now += 2.6
    limit.take("a", 1)
    now += 1_000_000
    limit.take("a", 10)
    with pytest.raises(Problem):
        limit.check("a")


def test_bodies_give_their_room_back() -> None:
    room = Room(10)
    with room.share() as take:
        take(8)
        with room.share() as other:
            other(2)
            with pytest.raises(Problem) as caught:
                other(1)
        assert caught.value.status == 503
        take(2)
    with room.share() as take:
        take(10)
