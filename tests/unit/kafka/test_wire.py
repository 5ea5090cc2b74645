"""The wire form: whatever lies in a raw partition is read without gap or overlap, and stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.ingest.fold import IngestFold
from pipeline.instants import DAY_US, EARLIEST_US, LATEST_US, MINUTE_US, SECOND_US, to_iso
from pipeline.kafka import wire
from pipeline.records import LEFT_US, Form, RawRecord, SignalSlice
from pipeline.streams import Definition, Turn, adapted, from_note, to_note

NOW_US = 20_000 * DAY_US
CLOCK = "s/push/0"
LIVE = Definition(name="s", kind="logs", tick_us=MINUTE_US, lateness_us=MINUTE_US, clocks=(CLOCK,), remember_ids=9)
#: Ticks that follow a calendar are the first to fail on times that no calendar has.
DAYS = adapted(LIVE, tick_us=DAY_US, zone="Pacific/Auckland", lateness_us=3 * DAY_US, clock="data")
LIVE_DAYS = adapted(DAYS, clock="arrival")
TURNS = {number: Turn(number, definition) for number, definition in enumerate((LIVE, DAYS, LIVE), 1)}


@dataclass(frozen=True)
class Sent:
    """A message as a client would show it."""

    at: int
    content: bytes | None = b""
    said: wire.Headers | None = None
    time_ms: int = NOW_US // 1000

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 2, self.time_ms

    def value(self) -> bytes | None:
        return self.content

    def headers(self) -> wire.Headers | None:
        return self.said


def knows(turn: Turn) -> bool:
    return TURNS.get(turn.number) == turn


def read(messages: Sequence[Sent], position: int = 0) -> list[RawRecord]:
    return wire.raw_records(messages, position=position, source="push", knows=knows)


def one(value: bytes | None, headers: wire.Headers | None = None) -> RawRecord:
    (record,) = read([Sent(0, value, headers)])
    return record


times_us = st.integers(-20, 20).map(lambda seconds: NOW_US + seconds * 20 * SECOND_US)
anything = st.binary(max_size=20)
items = st.one_of(
    st.builds(
        lambda us, id: json.dumps({"time": to_iso(us), "text": "x", "id": id}).encode(),
        times_us,
        st.sampled_from("abc"),
    ),
    st.builds(lambda us: json.dumps({"time": to_iso(us), "text": "x"}).encode(), times_us),
    st.just(b"Nov 25 15:00:00 host app: refused"),
    anything,
)
LEAVE: tuple[bytes, wire.Headers] = (b"", [("tocsin", b"leave")])
names = st.sampled_from(["tocsin", "form", "source", "id", "note", "else"])
contents = st.one_of(
    st.none(), anything, st.sampled_from([b"json", b"line", b"row", b"broken", b"heartbeat", b"idle", b"leave", b"a"])
)
items_said = st.one_of(st.none(), st.lists(st.tuples(names, contents), max_size=3))
controls = st.one_of(
    times_us.map(wire.heartbeat),
    st.integers(0, 10**9).map(wire.idle),
    st.integers().map(lambda n: (str(n).encode(), [("tocsin", b"heartbeat")])),
    st.integers().map(lambda n: (str(n).encode(), [("tocsin", b"idle")])),
    st.sampled_from(list(TURNS.values())).map(wire.define),
    st.integers(-1, 2**70).map(lambda n: wire.define(Turn(n, adapted(LIVE, tick_us=0)))),
    anything.map(lambda content: (content, [("tocsin", b"define")])),
    st.just(LEAVE),
)
values = st.one_of(st.tuples(items, items_said), st.tuples(st.none(), items_said), controls)
times_ms = st.one_of(st.integers(0, 3).map(lambda n: NOW_US // 1000 + n), st.integers(-(2**63), 2**63 - 1))


@st.composite
def partitions(draw: st.DrawFn) -> list[Sent]:
    """The messages of a raw partition: any bytes, any headers, any holes."""
    found, offset = [], draw(st.integers(0, 3))
    for (content, said), time_ms, hole in draw(st.lists(st.tuples(values, times_ms, st.sampled_from([0, 0, 0, 2])))):
        offset += hole
        found.append(Sent(offset, content, said, time_ms))
        offset += 1
    return found


@given(partitions(), st.integers(0, 5))
def test_records_follow_each_other_without_gap_or_overlap_up_to_the_last_message(
    messages: list[Sent], position: int
) -> None:
    records = read(messages, position)
    read_on = [m for m in messages if m.at >= position]
    assert [position, *(r.end for r in records)] == [*(r.position for r in records), *ends(read_on, position)]
    items = [r.position + n for r in records if r.kind == "items" for n in range(len(r.payloads))]
    others = [r.position for r in records if r.kind not in ("items", "hole")]
    assert sorted(items + others) == [m.at for m in read_on]
    payloads = dict(zip(items, (p for r in records if r.kind == "items" for p in r.payloads), strict=True))
    assert all(payloads[m.at] == (m.content or b"") for m in read_on if m.at in payloads)
    assert all(r.ids is None or len(r.ids) == len(r.payloads) for r in records)


def ends(messages: list[Sent], position: int) -> list[int]:
    return [messages[-1].at + 1 if messages else position]


Output = tuple[list[object], list[object], int, dict[str, tuple[int, int]], bytes]


def output(fold: IngestFold, chunks: Iterator[list[Sent]]) -> Output:
    """What ingest makes of a partition that is read in chunks, however its slices are cut."""
    slices: list[SignalSlice] = []
    for chunk in chunks:
        slices += fold.apply(read(chunk, fold.position))
    assert all(this.end == next_.start for this, next_ in pairwise(slices))
    bounds: dict[str, tuple[int, int]] = {}
    for slice in slices:
        begins, ends = bounds.get(slice.definition, (0, 0))
        bounds[slice.definition] = (begins + slice.begins, ends + slice.ends)
    return (
        [(slice.definition, signal) for slice in slices for signal in slice.signals],
        [letter for slice in slices for letter in slice.dead],
        sum(slice.duplicates for slice in slices),
        bounds,
        fold.to_bytes(),
    )


def cut(messages: list[Sent], cuts: list[int]) -> Iterator[list[Sent]]:
    """The messages in chunks; each chunk begins with some that were in the one before, as after a rewind."""
    start = 0
    for length in cuts:
        yield messages[max(0, start - length % 3) : start + length]
        start += length
    yield messages[start:]


@given(partitions(), st.lists(st.integers(0, 4)), st.sampled_from([LIVE, DAYS, LIVE_DAYS]))
@example([Sent(0, *wire.define(TURNS[2])), Sent(1, *wire.heartbeat(EARLIEST_US))], [], LIVE)
@example([Sent(0, *wire.define(TURNS[2])), Sent(1, *wire.heartbeat(LATEST_US))], [], LIVE)
@example([Sent(0, b"x", None, -(2**63)), Sent(1, b"x", None, 2**63 - 1)], [], LIVE_DAYS)
@example([Sent(0, *wire.define(Turn(2, adapted(LIVE, tick_us=0))))], [], LIVE)
def test_ingest_makes_the_same_of_a_partition_however_it_is_cut_and_stops_at_nothing(
    messages: list[Sent], cuts: list[int], definition: Definition
) -> None:
    whole, parts = (IngestFold(Turn(1, definition), CLOCK) for _ in range(2))
    assert output(parts, cut(messages, cuts)) == output(whole, iter([messages]))
    taken = sum(1 for m in messages if read([m], m.at)[0].kind == "items")
    assert whole.counts.items == taken  # every item ends in exactly one of four


@given(st.integers(EARLIEST_US, LATEST_US))
def test_a_heartbeat_comes_back_as_it_was_written(time_us: int) -> None:
    record = one(*wire.heartbeat(time_us))
    assert (record.kind, record.time_us) == ("heartbeat", time_us)


@given(st.integers(0, NOW_US))
def test_a_heartbeat_of_a_partition_at_rest_counts_back_from_its_append_time(idle_us: int) -> None:
    record = one(*wire.idle(idle_us))
    assert (record.kind, record.time_us) == ("heartbeat", NOW_US - idle_us)


@pytest.mark.parametrize("turn", TURNS.values())
def test_a_definition_comes_back_as_it_was_written(turn: Turn) -> None:
    record = one(*wire.define(turn))
    assert (record.kind, from_note(record.note)) == ("define", turn)


def test_a_partition_that_leaves_leaves() -> None:
    assert one(*LEAVE).kind == "leave"
    fold = IngestFold(TURNS[1], CLOCK)
    fold.apply(read([Sent(0, *LEAVE)]))
    assert fold.watermark_us == LEFT_US


@given(
    st.binary(),
    st.sampled_from(["json", "line", "row"]),
    st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable()),
    st.text(max_size=300).filter(lambda text: text.isprintable()),
)
def test_an_item_comes_back_as_it_was_written(payload: bytes, form: Form, source: str, id: str) -> None:
    for made in (
        (payload, wire.item_headers(form=form, source=source, id=id)),
        wire.item_message(payload, form=form, source=source, usual_source="push", id=id),
        wire.item_message(payload, form=form, source=source, usual_source=source, id=id),
    ):
        (record,) = wire.raw_records([Sent(0, *made)], position=0, source=source if made[1] is None else "push")
        assert (record.form, record.source, record.payloads) == (form, source, [payload])
        assert record.ids == ([id] if id else None)


def test_a_broken_item_says_why() -> None:
    record = one(b"x", wire.item_headers(form="broken", source="file", note="line 7 has no end"))
    assert (record.form, record.source, record.note) == ("broken", "file", "line 7 has no end")


@pytest.mark.parametrize(
    ("value", "headers", "why"),
    [
        (None, None, "a message without a value"),
        (None, [("tocsin", b"leave")], "a message without a value"),
        (b"x", [("form", b"xml")], "its header says the form 'xml', which is none"),
        (b"x", [("tocsin", b"explode")], "no control record that Tocsin knows: 'explode'"),
        (b"soon", [("tocsin", b"heartbeat")], "no control record that Tocsin knows: 'heartbeat'"),
        (str(LATEST_US + 1).encode(), [("tocsin", b"heartbeat")], "no control record that Tocsin knows: 'heartbeat'"),
        (str(EARLIEST_US - 1).encode(), [("tocsin", b"heartbeat")], "no control record that Tocsin knows: 'heartbeat'"),
        (b"-1", [("tocsin", b"idle")], "no control record that Tocsin knows: 'idle'"),
        (b"\xff{", [("tocsin", b"define")], "no control record that Tocsin knows: 'define'"),
        (to_note(Turn(9, LIVE)).encode(), [("tocsin", b"define")], "no control record that Tocsin knows: 'define'"),
        (b"x", [("tocsin", None)], "no control record that Tocsin knows: ''"),
    ],
)
def test_what_tocsin_does_not_know_is_a_broken_item_with_the_reason(
    value: bytes | None, headers: wire.Headers | None, why: str
) -> None:
    record = one(value, headers)
    assert (record.kind, record.form, record.note, record.payloads) == ("items", "broken", why, [value or b""])


def test_headers_that_the_client_cannot_read_make_a_broken_item() -> None:
    class Unreadable(Sent):
        def headers(self) -> wire.Headers | None:
            raise SystemError("returned a result with an exception set")

    broken, item = read([Unreadable(0, b"x"), Sent(1, b"y")])
    assert (broken.form, broken.payloads) == ("broken", [b"x"])
    assert "header" in broken.note
    assert item.payloads == [b"y"]


def test_ids_that_only_begin_alike_stay_apart() -> None:
    first, second = (one(b"x", wire.item_headers(form="line", source="s", id="i" * 400 + end)).ids for end in "ab")
    assert first != second


def test_neighbours_alike_share_a_record_and_each_keeps_its_id() -> None:
    messages = [Sent(n, b"a line", [("id", b"%d" % n)] if n % 3 == 2 else None) for n in range(50)]
    (record,) = read(messages)
    assert record.ids == [str(n) if n % 3 == 2 else "" for n in range(50)]
    assert len(read([*messages, Sent(50, b"{}"), Sent(51, b"{}"), Sent(52, b"{}", None, 5)])) == 3


def test_offsets_that_hold_nothing_are_a_hole_and_no_item() -> None:
    records = read([Sent(2, b"a"), Sent(5, b"b")], 0)
    assert [(r.kind, r.position, r.end) for r in records] == [
        ("hole", 0, 2), ("items", 2, 3), ("hole", 3, 5), ("items", 5, 6),
    ]  # fmt: skip
