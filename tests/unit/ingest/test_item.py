"""Reading one item: every payload gives an item or a reason, never another error."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BrokenItem
from pipeline.ingest.item import MAX_NAME, MAX_NESTING, Item, json_reader, line_reader
from pipeline.instants import DAY_US
from pipeline.records import Counted
from pipeline.streams import Definition

RECEIVED_US = 20_000 * DAY_US


def definition(**changes: object) -> Definition:
    return Definition(**({"name": "s", "kind": "news", "tick_us": 60_000_000} | changes))  # type: ignore[arg-type]


def read(payload: bytes | dict[str, object], **changes: object) -> Item:
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    return json_reader(definition(**changes))(payload, RECEIVED_US)


def reason(payload: bytes | dict[str, object], **changes: object) -> str:
    with pytest.raises(BrokenItem) as broken:
        read(payload, **changes)
    return broken.value.reason


def test_the_fields_of_an_item_are_found_under_the_names_of_its_columns() -> None:
    item = read(
        {"headline": "Bank fails", "when": "2024-05-06T10:00:00Z", "no": 7, "paper": "reuters", "land": "de"},
        columns={"text": "headline", "time": "when", "id": "no", "source": "paper", "region": "land"},
        group=("region",),
    )
    assert item == Item("7", 1_714_989_600_000_000, "Bank fails", "reuters", ("de",), None)


def test_what_an_item_lacks_is_unknown_and_its_time_is_none() -> None:
    assert read({"text": "x"}, group=("region",)) == Item("", None, "x", "", ("unknown",), None)
    assert read({"text": "x", "time": ""}).time_us is None


def test_two_fields_may_have_one_column() -> None:
    columns = {"text": "title", "source": "title"}
    assert read({"title": "a"}, columns=columns)[2:4] == ("a", "a")
    assert reason({"title": 7}, columns=columns) == "'title' is no text"
    assert read({"text": "x", "time": 1714989600}, group=("time",)).values == ("1714989600",)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not a JSON object"),
        (b"\x00", "not a JSON object"),
        (b'"text"', "Expected `object`"),
        (b'{"text":"a"', "truncated"),
        (b'{"text":"\xff"}', "invalid start byte"),
        (b'{"text":"\\ud800"}', "not a JSON object"),
        (b'{"text":7}', "Expected `str | null`"),
        (b'{"text":" \\n"}', "the text is empty"),
        (b"{}", "no field 'text'"),
        (b'{"text":"a","bad":NaN,"total":1}', "invalid character"),
        (b'{"text":"a","bad":1e400,"total":1}', "out of range"),
        (b'{"text":"a","bad":true,"total":1}', "Expected `int | float | null`"),
        (b'{"bad":-1,"total":5}', "outside 0 to"),
        (b'{"bad":0.5,"total":5}', "not a whole number"),
        (b'{"bad":6,"total":5}', "more than 'total' 5"),
        (b'{"total":5}', "without 'bad'"),
        (b'{"bad":2000000000000,"total":2000000000000}', "outside 0 to"),
        (b'{"bad":0,"total":' + b"9" * 400 + b"}", "outside 0 to"),
        (b'{"bad":-' + b"9" * 4000 + b',"total":1}', "outside 0 to"),
        (b'{"text":"a","time":"0001-01-01T00:00:00Z"}', "outside the years 1900 to 2200"),
        (b'{"text":"a","time":"9999-12-31T23:59:59-12:00"}', "outside the years 1900 to 2200"),
        (b'{"text":"a","time":"soon"}', "not a time"),
        (b'{"text":"a","time":1e400}', "out of range"),
        (b'{"text":"a","time":-5}', "a number of seconds since 1970"),
    ],
)
def test_a_broken_item_says_why(payload: bytes, why: str) -> None:
    assert why in reason(payload)


def test_counts_need_no_text() -> None:
    assert read({"bad": 3, "total": 10.0}).counted == Counted(3, 10)
    assert read({"bad": 3}).counted == Counted(3, 3)


def test_long_ids_that_begin_alike_are_two_items() -> None:
    one, other = (read({"text": "a", "id": "x" * 1000 + end}).id for end in "ab")
    assert one != other
    assert len(one) < 2 * MAX_NAME
    assert read({"text": "a", "id": "x" * MAX_NAME}).id == "x" * MAX_NAME


def test_whether_deep_nesting_is_broken_does_not_depend_on_the_stack() -> None:
    def nested(depth: int) -> bytes:
        return b'{"text":"a","more":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    def outcome(depth: int) -> str:
        try:
            return read(nested(depth)).text
        except BrokenItem as broken:
            return broken.reason

    def at_depth(calls: int, depth: int) -> str:
        return outcome(depth) if calls == 0 else at_depth(calls - 1, depth)

    for depth in (MAX_NESTING, MAX_NESTING + 1, 500, 800, 100_000):
        found: list[str] = []
        thread = threading.Thread(target=lambda depth=depth, found=found: found.append(outcome(depth)))
        thread.start()
        thread.join()
        assert found == [at_depth(400, depth)]
        assert found == ["a" if depth <= MAX_NESTING else f"nested deeper than {MAX_NESTING} levels"]


def test_brackets_in_a_text_are_no_nesting() -> None:
    assert read({"text": '["{' * 500}).text == '["{' * 500


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text('{}[]":,\\ud8abtexim0123456789.-+eE \x00', max_size=60).map(str.encode))
def test_any_bytes_are_an_item_or_broken(payload: bytes) -> None:
    for reader in (json_reader(definition(group=("host",))), line_reader(definition(group=("host",)))):
        try:
            item = reader(payload, RECEIVED_US)
        except BrokenItem:
            continue
        assert item.text or item.counted


def test_a_line_gives_host_program_and_time() -> None:
    read_line = line_reader(definition(kind="logs", group=("program",), member=("host",)))
    item = read_line(b"Jun 14 15:16:02 combo sshd(pam_unix)[19939]: authentication failure", RECEIVED_US)
    assert item.values == ("sshd(pam_unix)", "combo")
    assert item.text == "authentication failure"
    assert item.time_us is not None


def test_a_line_that_is_not_utf8_says_where() -> None:
    with pytest.raises(BrokenItem, match="not UTF-8: invalid start byte at byte 3"):
        line_reader(definition())(b"abc\xff", RECEIVED_US)
