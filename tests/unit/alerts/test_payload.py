"""The body of a webhook is small, versioned and the same each time."""

from __future__ import annotations

from datetime import datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.payload import sample_payload, surge_payload, system_payload
from alerts.system_alarm import SystemAlarm
from alerts.tables import storable, storable_json
from pipeline.instants import MINUTE_US, to_iso
from pipeline.records import Exemplar, Member, Transition

END_US = 1_767_225_600_000_000  # 2026-01-01 00:00:00 UTC


def huge() -> Transition:
    return Transition(
        id="a" * 32,
        sequence=3,
        run="live",
        stream="news",
        definition="d" * 12,
        group="topic:finance",
        direction="up",
        state="grew",
        severity="critical",
        tick=5,
        tick_us=END_US - MINUTE_US,
        tick_end_us=END_US,
        opened_us=END_US - 2 * MINUTE_US,
        observed=30,
        total=100,
        expected=3.5,
        low=0.0,
        high=8.0,
        p=1e-9,
        members=[Member(f"source:{n}", 1, 2, 1.0, 0.1) for n in range(500)],
        series=[(END_US + (n - 499) * MINUTE_US, 1, 2, 1.0) for n in range(500)],
        exemplars=[Exemplar(-990_000, "x" * 1000, END_US, "s" * 1000, "t" * 10_000, "finance") for _ in range(50)],
        sources={f"source {n}": n for n in range(500)},
    )


def test_a_payload_says_what_people_ask() -> None:
    body = msgspec.json.decode(surge_payload(huge()))
    assert body["type"] == "surge.grew"
    assert body["version"] == 1
    assert body["timestamp"] == "2026-01-01T00:00:00Z"
    data = body["data"]
    assert (data["observed"], data["total"], data["expected"], data["interval"]) == (30, 100, 3.5, [0.0, 8.0])
    assert datetime.fromisoformat(data["tick"]).utcoffset() is not None
    assert next(iter(data["sources"])) == "source 499", "the sources that say most come first"


def test_a_payload_is_small_and_says_how_much_was_cut() -> None:
    payload = surge_payload(huge())
    assert len(payload) < 16_000
    data = msgspec.json.decode(payload)["data"]
    assert data["more"] == {"members": 480, "exemplars": 45, "sources": 490}
    assert all(len(exemplar["text"]) == 300 for exemplar in data["exemplars"])
    assert data["series"][-1]["tick"] == to_iso(END_US), "the newest ticks are kept"


def test_the_same_transition_has_the_same_body() -> None:
    assert surge_payload(huge()) == surge_payload(huge())


def test_alarms_and_samples_are_typed_too() -> None:
    alarm = SystemAlarm(what="clock_stalled", subject="news/feed", message="it stands", since_us=0, at_us=END_US)
    assert msgspec.json.decode(system_payload(alarm))["type"] == "system.opened"
    assert msgspec.json.decode(sample_payload("sub_1", END_US))["type"] == "test"


def test_an_alarm_is_named_by_what_and_since() -> None:
    one = SystemAlarm(what="a", subject="b", message="m", since_us=1, at_us=2)
    assert one.id == msgspec.structs.replace(one, message="n", at_us=3, state="resolved").id
    assert one.id != msgspec.structs.replace(one, since_us=2).id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(json_values)
def test_any_json_value_becomes_one_that_postgres_can_hold(value: object) -> None:
    encoded = msgspec.json.encode(storable_json(value))
    assert b"\\u0000" not in encoded.replace(b"\\\\", b"")


def test_hostile_text_is_made_storable() -> None:
    assert storable("a\x00b") == "a\ufffdb"
    assert storable("a\ud800b") == "a\ufffdb"
    assert storable("\U0001f4a5 fine") == "\U0001f4a5 fine"
