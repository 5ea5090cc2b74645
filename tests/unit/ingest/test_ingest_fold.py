"""The ingest fold: every item ends in one of four, decided by the log alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import streams
from pipeline.errors import RangeGap, StateMismatch
from pipeline.ingest.fold import IngestFold
from pipeline.ingest.item import MAX_ITEM_BYTES, MAX_TEXT
from pipeline.instants import DAY_US, EARLIEST_US, HOUR_US, MINUTE_US, to_iso
from pipeline.records import LEFT_US, Form, RawRecord, SignalSlice
from pipeline.streams import Definition, Turn

NOW_US = 20_000 * DAY_US
P = "s/push"


def definition(**changes: object) -> Definition:
    made: dict[str, object] = {
        "name": "s",
        "kind": "logs",
        "tick_us": MINUTE_US,
        "lateness_us": 2 * MINUTE_US,
        "clocks": (P,),
    }
    return Definition(**(made | changes))  # type: ignore[arg-type]


def item(minute: float, **fields: object) -> bytes:
    return json.dumps({"time": to_iso(NOW_US + round(minute * MINUTE_US)), "text": "x"} | fields).encode()


def items(position: int, *payloads: bytes, form: Form = "json", ids: list[str] | None = None) -> RawRecord:
    return RawRecord(position, NOW_US, form=form, source="push", payloads=list(payloads), ids=ids)


def folded(fold: IngestFold, *payloads: bytes, ids: list[str] | None = None) -> SignalSlice:
    (slice,) = fold.apply([items(fold.position, *payloads, ids=ids)])
    return slice


def fates(fold: IngestFold) -> tuple[int, int, int, int]:
    return fold.counts.counted, fold.counts.late, fold.counts.duplicates, fold.counts.dead


def test_every_item_ends_in_one_of_four() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    slice = folded(fold, item(0, id="a"), item(0, id="a"), item(-9), b"{", item(1))
    assert fates(fold) == (2, 1, 1, 1)
    assert [(s.position, s.late) for s in slice.signals] == [(0, False), (2, True), (4, False)]
    assert slice.duplicates == 1
    assert [(d.position, d.payload) for d in slice.dead] == [(3, b"{")]


def test_a_number_that_no_float_can_hold_is_a_dead_letter_and_the_next_item_counts() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    slice = folded(fold, item(0, bad=10**400, total=10**400), item(0, bad=0, total=-(10**400)), item(1, bad=1, total=2))
    assert fates(fold) == (1, 0, 0, 2)
    assert [d.reason.split(",")[1] for d in slice.dead] == [" outside 0 to 1099511627776"] * 2


def test_an_item_is_late_once_its_tick_and_the_lateness_have_passed() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    folded(fold, item(3), item(0))  # the tick of minute 0 ends at 1; with two minutes of lateness at 3
    assert fates(fold) == (1, 1, 0, 0)
    fold = IngestFold(Turn(1, definition()), P)
    folded(fold, item(2.99), item(0))
    assert fates(fold) == (2, 0, 0, 0)


def test_a_time_beyond_max_ahead_moves_no_clock() -> None:
    fold = IngestFold(Turn(1, definition(max_ahead_us=HOUR_US)), P)
    slice = folded(fold, item(0), item(61), item(60))
    assert fates(fold) == (2, 0, 0, 1)
    assert slice.watermark_us == NOW_US + HOUR_US
    assert "in the future" in slice.dead[0].reason


def test_a_dead_letter_is_not_remembered_so_its_retry_counts() -> None:
    fold = IngestFold(Turn(1, definition(max_ahead_us=HOUR_US)), P)
    folded(fold, item(61, id="a"))
    fold.apply([RawRecord(1, NOW_US + HOUR_US, payloads=[item(61, id="a")])])
    assert fates(fold) == (1, 0, 0, 1)


def test_the_id_of_the_transport_counts_where_the_item_brings_none() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    slice = folded(fold, item(0), item(0), item(0, id="own"), ids=["k:0", "k:0", "k:2"])
    assert [s.id for s in slice.signals] == ["k:0", "own"]
    assert fates(fold) == (2, 0, 1, 0)


def test_items_without_an_id_are_never_duplicates() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    folded(fold, *[item(0)] * 1000)
    assert fates(fold) == (1000, 0, 0, 0)


def test_only_the_last_ids_are_remembered() -> None:
    fold = IngestFold(Turn(1, definition(remember_ids=2)), P)
    folded(fold, *(item(0, id=i) for i in ("a", "b", "c", "b", "a")))
    assert fates(fold) == (4, 0, 1, 0)


def test_an_undated_item_has_its_received_time_live_and_is_dead_in_history() -> None:
    live = IngestFold(Turn(1, definition(clock="arrival")), P)
    assert folded(live, b'{"text":"x"}').signals[0].time_us == NOW_US
    history = IngestFold(Turn(1, definition(clock="data")), P)
    assert folded(history, b'{"text":"x"}').dead[0].reason == "it has no time"


def test_a_line_without_a_time_continues_the_one_before_it() -> None:
    fold = IngestFold(Turn(1, definition(clock="data")), P)
    lines = [b"no time yet", b"2024-05-06 10:00:00 ERROR boom", b"  at Main.java"]
    (slice,) = fold.apply([items(0, *lines, form="line")])
    assert len({s.time_us for s in slice.signals}) == 1
    assert [d.position for d in slice.dead] == [0]


def test_what_a_source_could_not_frame_is_dead_with_its_note() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    (slice,) = fold.apply([RawRecord(0, NOW_US, form="broken", payloads=[b"x"], note="a line that is too long")])
    assert slice.dead[0].reason == "a line that is too long"


def test_a_long_item_is_dead_and_a_long_text_is_cut() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    slice = folded(fold, b" " * (MAX_ITEM_BYTES + 1), item(0, text="x" * 2 * MAX_TEXT))
    assert "bytes long" in slice.dead[0].reason
    assert len(slice.signals[0].text) == MAX_TEXT


def test_text_leaves_masked_and_dead_letters_as_they_came() -> None:
    fold = IngestFold(Turn(1, definition(mask_ip=True)), P)
    slice = folded(fold, item(0, text="mail a@b.co from 10.1.2.3"), b'{"text":"a@b.co"')
    assert slice.signals[0].text == "mail [email] from [ip]"
    assert slice.dead[0].payload == b'{"text":"a@b.co"'


def test_heartbeats_move_the_clock_forward_only() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    (slice,) = fold.apply([RawRecord(0, NOW_US, kind="heartbeat", time_us=NOW_US)])
    assert slice.watermark_us == NOW_US
    (slice,) = fold.apply([RawRecord(1, NOW_US, kind="heartbeat", time_us=NOW_US - DAY_US)])
    assert slice.watermark_us == NOW_US
    assert fold.counts.items == 0


def test_a_heartbeat_beyond_max_ahead_moves_no_clock() -> None:
    fold = IngestFold(Turn(1, definition(max_ahead_us=HOUR_US)), P)
    (slice,) = fold.apply([RawRecord(0, NOW_US, kind="heartbeat", time_us=NOW_US + 2 * HOUR_US)])
    assert (fold.watermark_us, slice.touched, slice.end) == (None, [], 1)
    (slice,) = fold.apply([RawRecord(1, NOW_US, kind="heartbeat", time_us=NOW_US + HOUR_US)])
    assert slice.watermark_us == NOW_US + HOUR_US


def test_a_partition_that_leaves_holds_no_tick_open() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    (slice,) = fold.apply([RawRecord(0, NOW_US, kind="leave")])
    assert slice.watermark_us == LEFT_US


def test_a_partition_without_an_event_time_holds_every_tick_open() -> None:
    assert folded(IngestFold(Turn(1, definition()), P), b"{").watermark_us == EARLIEST_US


def test_a_definition_takes_effect_where_the_log_says() -> None:
    old, new = definition(), definition(tick_us=HOUR_US)
    fold = IngestFold(Turn(1, old), P)
    define = RawRecord(2, NOW_US, kind="define", note=streams.to_note(Turn(2, new)))
    before, after = fold.apply([items(0, item(0), item(1)), define, items(3, item(2))])
    assert (before.definition, before.end, before.watermark_us) == (old.version, 3, LEFT_US)
    assert (after.definition, after.begins, after.start, after.end) == (f"{new.version}.2", True, 3, 4)
    assert after.watermark_us == NOW_US + 2 * MINUTE_US
    assert after.signals[0].tick == new.ticks.index(NOW_US)
    assert fates(fold) == (3, 0, 0, 0)


def test_the_same_definition_again_changes_nothing() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    define = RawRecord(0, NOW_US, kind="define", note=streams.to_note(Turn(1, definition())))
    assert len(fold.apply([define, items(1, item(0))])) == 1


@pytest.mark.parametrize("position", [0, 2, 9])
def test_a_record_that_does_not_follow_says_where_to_rewind(position: int) -> None:
    fold = IngestFold(Turn(1, definition()), P)
    folded(fold, item(0))
    with pytest.raises(RangeGap) as gap:
        fold.apply([items(position, item(0))])
    assert (gap.value.expected, gap.value.got) == (1, position)


def test_the_state_of_another_partition_is_refused() -> None:
    state = IngestFold(Turn(1, definition()), P).to_bytes()
    with pytest.raises(StateMismatch, match="s/push"):
        IngestFold(Turn(1, definition()), "s/other", state)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.sampled_from(["", "a", "b", "c"]), st.booleans()), max_size=30),
    st.integers(1, 7),
    st.integers(0, 3),
)
def test_neither_cuts_nor_restarts_change_what_becomes_of_an_item(
    made: list[tuple[int, str, bool]], cut: int, remember: int
) -> None:
    d = definition(remember_ids=remember)
    payloads = [item(m, id=id) if good else item(m, id=id)[:-2] for m, id, good in made]
    whole = IngestFold(Turn(1, d), P)
    straight = whole.apply([items(0, *payloads)]) if payloads else []
    fold = IngestFold(Turn(1, d), P)
    found, ids = [], []
    for start in range(0, len(payloads), cut):
        fold = IngestFold(Turn(1, d), P, fold.to_bytes())
        fold.remember(ids[-remember:] if remember else [])
        (slice,) = fold.apply([items(start, *payloads[start : start + cut])])
        found.append(slice)
        ids += [s.id for s in slice.signals if s.id]
    assert [s for one in found for s in one.signals] == [s for one in straight for s in one.signals]
    assert fates(fold) == fates(whole)
    assert fold.watermark_us == whole.watermark_us
    assert fold.counts.items == len(payloads)


def test_personal_data_in_source_values_and_id_does_not_pass() -> None:
    d = definition(group=("source",), member=("host",))
    fold = IngestFold(Turn(1, d), P)
    (slice,) = fold.apply([items(0, item(0, source="joe@x.org", host="+1 415 555 2671", id="joe@x.org"))])
    (signal,) = slice.signals
    assert "joe" not in repr(signal)
    assert "2671" not in repr(signal)


def test_ids_that_hold_personal_data_still_tell_items_apart() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    folded(fold, item(0, id="joe@x.org"), item(0, id="ann@x.org"), item(0, id="joe@x.org"))
    assert fates(fold) == (2, 0, 1, 0)


def test_an_address_across_the_cut_of_a_long_text_does_not_pass() -> None:
    fold = IngestFold(Turn(1, definition()), P)
    slice = folded(fold, item(0, text="x" * 19_990 + " joe.someone@example.org"))
    assert "joe" not in slice.signals[0].text


def test_what_a_reader_does_not_expect_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = IngestFold(Turn(1, definition()), P)

    def broken(payload: bytes, received_us: int) -> object:
        raise OverflowError("inner detail")

    monkeypatch.setitem(fold._now.readers, "json", broken)  # type: ignore[arg-type]
    slice = folded(fold, item(0))
    assert "OverflowError" in slice.dead[0].reason
    assert "inner detail" not in slice.dead[0].reason


def test_a_changed_memory_for_ids_counts_from_where_the_log_says() -> None:
    fold = IngestFold(Turn(1, definition(remember_ids=100)), P)
    folded(fold, item(0, id="a"), item(0, id="b"), item(0, id="c"))
    note = streams.to_note(Turn(2, definition(remember_ids=1)))
    fold.apply([RawRecord(3, NOW_US, kind="define", note=note), items(4, item(0, id="a"), item(0, id="a"))])
    assert fates(fold) == (4, 0, 1, 0)
