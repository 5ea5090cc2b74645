"""Items as messages: what is written is read back as it was, with as few headers as that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.wire import item_message, raw_records
from pipeline.records import Form


@dataclass
class Message:
    at: int
    content: bytes
    more: Any

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_700_000_000_000

    def value(self) -> bytes:
        return self.content

    def headers(self) -> Any:
        return self.more


@given(
    st.binary(max_size=20) | st.just(b"{}"),
    st.sampled_from(get_args(Form)),
    st.sampled_from(["push", "web1", "wäb"]),
    st.sampled_from(["", "7"]),
)
def test_an_item_is_read_as_it_was_written(payload: bytes, form: Form, source: str, id: str) -> None:
    note = "why" if form == "broken" else ""
    value, headers = item_message(payload, form=form, source=source, usual_source="push", id=id, note=note)
    (record,) = raw_records([Message(5, value, headers)], position=5, source="push")
    assert (record.form, record.source, record.payloads, record.note) == (form, source, [payload], note)
    if form != "broken":  # nobody looks for an id there
        assert record.ids == ([id] if id else None)


def test_an_item_that_says_nothing_unusual_has_no_headers() -> None:
    assert item_message(b"a line", form="line", source="push", usual_source="push") == (b"a line", None)
    assert item_message(b'{"a":1}', form="json", source="push", usual_source="push") == (b'{"a":1}', None)
    assert item_message(b"a line", form="json", source="push", usual_source="push")[1] is not None
    assert item_message(b"a line", form="line", source="web1", usual_source="push")[1] is not None


def test_the_ids_of_a_push_with_the_longest_key_stay_apart() -> None:
    def read(id: str) -> list[str] | None:
        value, headers = item_message(b"a", form="line", source="push", usual_source="push", id=id)
        (record,) = raw_records([Message(0, value, headers)], position=0, source="push")
        return record.ids

    key = "k" * 200
    assert read(f"{key}:262143") == [f"{key}:262143"]
    assert read("x" * 1000 + "1") != read("x" * 1000 + "2")
    assert len((read("x" * 1000) or [""])[0]) < 400
