"""Keys: what a signal is counted under."""

from __future__ import annotations

import pytest

from pipeline.keys import bucket_of, key_maker
from pipeline.streams import Definition


def definition(**changes: object) -> Definition:
    settings: dict[str, object] = {"name": "s", "kind": "news", "tick_us": 1, "overall": False}
    return Definition(**(settings | changes))  # type: ignore[arg-type]


def test_a_signal_counts_for_its_group_its_member_and_the_stream() -> None:
    keys = key_maker(definition(group=("topic",), member=("source",), overall=True))
    assert keys("finance", "reuters", ()) == (("topic:finance", ""), ("topic:finance", "source:reuters"), ("all", ""))


def test_a_signal_without_its_dimension_counts_for_the_whole_stream_only() -> None:
    keys = key_maker(definition(group=("region",), overall=True))
    assert keys("x", "y", ("unknown",)) == (("all", ""),)


def test_a_signal_has_a_key_even_where_nothing_is_known_of_it() -> None:
    keys = key_maker(definition(group=("region",)))
    assert keys("x", "y", ("unknown",)) == (("region:unknown", ""),)


def test_two_dimensions_make_one_group() -> None:
    keys = key_maker(definition(group=("region", "topic")))
    assert keys("floods", "", ("north",)) == (("region:north,topic:floods", ""),)


@pytest.mark.parametrize("value", ["a,b", "a\nb", ""])
def test_a_hostile_value_cannot_look_like_two_dimensions(value: str) -> None:
    ((group, _),) = key_maker(definition(group=("source",)))("", value, ())
    assert "," not in group
    assert "\n" not in group


def test_a_group_and_its_members_share_a_bucket() -> None:
    assert {bucket_of("topic:finance", 8) for _ in range(3)} == {bucket_of("topic:finance", 8)}
    assert all(0 <= bucket_of(f"g{n}", 5) < 5 for n in range(50))
