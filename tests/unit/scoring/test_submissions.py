"""Submissions: what can be scored is, and what cannot says why."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scoring.lenient import members
from pipeline.scoring.submissions import MAX_ID, Fields, Submission, of_json, of_text
from pipeline.scoring.template import SCORED_CHARACTERS


def read(data: bytes, **more: str) -> Submission:
    return of_json(data, Fields(), **more)


def id_of(submission: Submission) -> object:
    return json.loads(bytes(submission.id))


def test_id_text_and_kind_are_read_and_the_rest_is_not() -> None:
    one = read(b'{"id":"a","text":"disk failed","kind":"logs","other":[1,{"x":null}]}')
    assert (id_of(one), one.text, one.kind, one.flags, one.error) == ("a", "disk failed", "logs", (), "")


@pytest.mark.parametrize(
    "id", ['"a"', "7", "-1.50", "123456789012345678901234567890", "null", '"\\ud800"', '"\\u001b"']
)
def test_an_id_comes_back_as_it_was(id: str) -> None:
    one = read(f'{{"id":{id},"text":"x"}}'.encode())
    assert one.error == ""
    assert id_of(one) == json.loads(id)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"nonsense", "not JSON"),
        (b'{"text":"a"', "not JSON"),
        (b'{"text":NaN}', "not JSON"),
        (b"[1]", "not an object"),
        (b'"text"', "not an object"),
        (b"{}", 'no "text"; the object has nothing'),
        (b'{"id":1,"message":"a"}', 'no "text"; the object has "id", "message"'),
        (b'{"text":5}', '"text" is a number'),
        (b'{"text":null}', '"text" is null'),
        (b'{"text":["a"]}', '"text" is an array'),
        (b'{"text":"a\xff"}', "the text is not UTF-8"),
        (b'{"\xff":"a"}', "not UTF-8"),
        (b'\xff\xfe{"text":"a"}', "not UTF-8"),
        (b'{"id":"\xff","text":"a"}', "the id is not UTF-8"),
        (b'{"id":{"a":1},"text":"a"}', "the id is an object"),
        (b'{"id":true,"text":"a"}', "the id is true"),
        (b'{"id":"' + b"x" * MAX_ID + b'","text":"a"}', "the id has 1,002 bytes"),
        (b'{"text":"a","kind":"tweet"}', "\"kind\" is 'tweet'; write news, logs, health, indicator"),
        (b'{"text":"a","kind":3}', '"kind" is a number'),
        (b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_what_is_wrong(data: bytes, says: str) -> None:
    assert says in read(data).error


def test_a_broken_text_keeps_its_id() -> None:
    assert id_of(read(b'{"id":7,"text":5}')) == 7
    assert id_of(read(b'{"id":7}')) == 7


@pytest.mark.parametrize("kind", ['""', '" "', "null"])
def test_an_empty_kind_is_none(kind: str) -> None:
    one = read(b'{"text":"a","kind":' + kind.encode() + b"}")
    assert (one.kind, one.error) == ("", "")


def test_a_forced_kind_wins_and_what_stands_there_is_not_looked_at() -> None:
    assert read(b'{"text":"a","kind":"machine down"}', kind="logs").kind == "logs"


def test_fields_may_have_other_names() -> None:
    fields = Fields(text="message", id="uuid", kind="type")
    one = of_json(b'{"id":1,"uuid":2,"message":"m","text":"t","type":"health"}', fields)
    assert (id_of(one), one.text, one.kind) == (2, "m", "health")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("bank fails", ()),
        ("", ("empty",)),
        (" \t\n\u3000", ("empty",)),
        ("😀🔥", ("no_words",)),
        ("12:30 - 3/4 !", ("no_words",)),
        ("\ud800", ("no_words", "replaced")),
        ("\x00\x1b", ("no_words", "replaced")),
        ("\ud800 attack", ("replaced",)),
        ("disk\x07 failed", ("replaced",)),
        ("disk\x9b failed", ("replaced",)),
        ("fire\tat\r\nthe\x1cmill\x85\u2028", ()),
        ("x" * SCORED_CHARACTERS + "\ud800", ("cut",)),
        ("地震", ()),
        ("word " * 2_000_000, ("cut",)),
        (" " * 3000 + "word", ("empty", "cut")),
    ],
)
def test_texts_of_which_a_score_says_little_are_flagged(text: str, flags: tuple[str, ...]) -> None:
    one = of_text(text)
    assert one.flags == flags
    assert len(one.text) <= SCORED_CHARACTERS


def test_halves_of_surrogate_pairs_are_texts() -> None:
    one = read(b'{"id":"\\ud83d","text":"fire \\ud83d at the mill"}')
    assert (id_of(one), one.text, one.error) == ("\ud83d", "fire \ud83d at the mill", "")


@pytest.mark.parametrize(
    "id", ["1.10", "1e999", "-0.0", "0.12345678901234567890123", "9" * MAX_ID, '"\\u0041é\\uD83D"']
)
def test_halves_of_surrogate_pairs_leave_every_byte_of_an_id(id: str) -> None:
    one = read(f'{{"id": {id} , "\\ud800":[{{"x":{"1" * 5000}}}], "text":"x"}}'.encode())
    assert (bytes(one.id).decode(), one.text, one.error) == (id, "x", "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"id":NaN,"text":"\\ud800"}', "not JSON (NaN is no number in JSON)"),
        (b'{"id":-Infinity,"text":"\\ud800"}', "not JSON (-Infinity is no number in JSON)"),
        (b'{"id":01,"text":"\\ud800"}', "not JSON (no , at character 7)"),
        (b'{"text":"\\ud800"}{}', "not JSON (more than one value: another begins at character 17)"),
        (b'{"text":"\\ud800",}', "not JSON (Expecting value"),
        (b'{1:"\\ud800"}', "not JSON (no name of a field before character 2)"),
        (b'{"text":"\\ud800 \xff"}', "the text is not UTF-8"),
        (b'{"\\ud800":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_beside_halves_of_surrogate_pairs_is_said(data: bytes, says: str) -> None:
    assert says in read(data).error


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["id", "text", "kind", "x"]), _VALUES))
def test_every_object_has_a_text_or_an_error_and_an_id_that_json_holds(value: dict[str, object]) -> None:
    one = read(json.dumps(value).encode())
    text = value.get("text")
    assert one.error or (isinstance(text, str) and one.text == text[:SCORED_CHARACTERS])
    msgspec.json.decode(msgspec.json.encode({"id": one.id}).replace(b"\\ud", b"ud"))


@given(st.dictionaries(st.text(max_size=3) | st.just("\ud800"), _VALUES), st.sampled_from([None, 1]), st.booleans())
def test_halves_of_surrogate_pairs_hide_no_member(value: dict[str, object], indent: int | None, ascii: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "replace")
    assert {name: json.loads(raw) for name, raw in members(data)} == json.loads(data)


@given(st.binary(max_size=40))
def test_no_bytes_raise(data: bytes) -> None:
    read(data)
    read(b'{"\\ud800":1,"text":"a' + data)
    read(b'{"\\ud800":1,"text":"a\\ud800' + data + b'"}')
    read(b'{"text":"' + data + b'"}')
    read(b'{"text":"a","id":' + data + b"}")
