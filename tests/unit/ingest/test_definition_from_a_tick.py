"""A definition that is announced for a tick takes over in each partition once all before that tick is there or late."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline import streams
from pipeline.ingest.fold import IngestFold
from pipeline.records import LEFT_US, Following, RawRecord, SignalSlice
from pipeline.streams import Definition, Turn

MINUTE_US = 60_000_000
START = datetime(2024, 5, 6, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
RECEIVED_US = START_US + 86_400_000_000

OLD = Definition(
    name="logs",
    kind="logs",
    tick_us=MINUTE_US,
    lateness_us=MINUTE_US,
    clock="data",
    group=("source",),
    clocks=("logs/a",),
)
NEW = streams.adapted(OLD, threshold=0.9)
AFTER = f"{NEW.version}.2"


def item(minute: float) -> bytes:
    return json.dumps({"time": (START + timedelta(minutes=minute)).isoformat(), "text": "x", "source": "s"}).encode()


def define(position: int, from_minute: float, number: int = 2, definition: Definition = NEW) -> RawRecord:
    turn = Turn(number, definition, START_US + round(from_minute * MINUTE_US))
    return RawRecord(position, RECEIVED_US, "define", note=streams.to_note(turn))


def items(position: int, *minutes: float) -> RawRecord:
    return RawRecord(position, RECEIVED_US, payloads=[item(m) for m in minutes])


def shape(slices: list[SignalSlice]) -> list[tuple[str, int, int, bool, bool]]:
    return [(s.definition, s.start, s.end, s.begins, s.ends) for s in slices]


def counted_under(slices: list[SignalSlice]) -> dict[str, list[float]]:
    """The minutes of the signals on time, by the definition that they count under."""
    found: dict[str, list[float]] = {}
    for slice in slices:
        for s in slice.signals:
            if not s.late:
                found.setdefault(slice.definition_at(s.time_us), []).append((s.time_us - START_US) / MINUTE_US)
    return found


def test_each_item_counts_under_the_definition_whose_ticks_it_falls_in() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    slices = fold.apply([items(0, 0.5), define(1, 3.0), items(2, 2.5, 3.5, 2.9, 3.9, 4.2, 5.0, 3.2, 4.1)])
    assert shape(slices) == [
        (OLD.version, 0, 2, True, False),
        (OLD.version, 2, 7, False, True),
        (AFTER, 7, 10, False, False),
    ]
    assert counted_under(slices) == {OLD.version: [0.5, 2.5, 2.9], AFTER: [3.5, 3.9, 4.2, 5.0, 4.1]}


def test_the_one_that_follows_begins_behind_its_announcement_with_ticks_of_its_own() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    slices = fold.apply([items(0, 0.5), define(1, 3.0), items(2, 2.5, 3.5), items(4, 4.5)])
    following = [s.following for s in slices]
    tick = OLD.ticks.index(START_US)
    assert following == [
        None,
        Following(AFTER, START_US + 3 * MINUTE_US, True, [tick + 3, tick + 4], fold.watermark_us),
    ]
    assert [s.touched for s in slices] == [[tick], [tick + 2]]
    # The old one ends where its last tick does: all clocks that end it say the same.
    assert [s.watermark_us for s in slices] == [START_US + MINUTE_US // 2, START_US + 4 * MINUTE_US]


def test_an_item_that_only_the_one_that_follows_can_read_is_its_own() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    renamed = streams.adapted(OLD, columns={"time": "at"})
    at = (START + timedelta(minutes=3.5)).isoformat()
    new_form = RawRecord(2, RECEIVED_US, payloads=[json.dumps({"at": at, "text": "x", "source": "s"}).encode()])
    slices = fold.apply([items(0, 0.5), define(1, 3.0, definition=renamed), new_form, items(3, 3.6)])
    assert counted_under(slices) == {OLD.version: [0.5], f"{renamed.version}.2": [3.5]}
    assert [(letter.position, letter.reason) for s in slices for letter in s.dead] == [(3, "it has no time")]


def test_a_source_that_joins_counts_from_the_tick_on() -> None:
    turn = Turn(2, streams.adapted(OLD, clocks=("logs/a", "logs/b")), START_US + 3 * MINUTE_US)
    [slice] = IngestFold(turn, "logs/b").apply([items(0, 2.9, 3.0, 3.1)])
    assert counted_under([slice]) == {turn.name: [3.0, 3.1]}
    assert slice.touched == [OLD.ticks.index(turn.from_us)]


def test_a_partition_that_leaves_meanwhile_leaves_both() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    leave = RawRecord(3, RECEIVED_US, "leave")
    slices = fold.apply([items(0, 0.5), define(1, 3.0), items(2, 3.5), leave, items(4, 3.6)])
    assert [(s.start, s.watermark_us, s.following and s.following.watermark_us) for s in slices] == [
        (0, START_US + MINUTE_US // 2, None),
        (2, LEFT_US, LEFT_US),
        (4, LEFT_US, None),
    ]
    assert counted_under(slices) == {OLD.version: [0.5], AFTER: [3.5]}


def test_another_announced_meanwhile_ends_the_wait() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    third = streams.adapted(OLD, threshold=0.8)
    slices = fold.apply([items(0, 0.5), define(1, 3.0), items(2, 2.5), define(3, 5.0, 3, third), items(4, 4.9, 5.1)])
    assert shape(slices) == [
        (OLD.version, 0, 2, True, False),
        (OLD.version, 2, 4, False, True),
        (AFTER, 4, 6, False, False),
    ]
    assert counted_under(slices) == {OLD.version: [0.5, 2.5], AFTER: [4.9], f"{third.version}.3": [5.1]}


def test_without_a_tick_it_takes_over_where_it_stands() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    now = RawRecord(1, RECEIVED_US, "define", note=streams.to_note(Turn(2, NEW)))
    assert shape(fold.apply([items(0, 0.5), now, items(2, 0.6)])) == [
        (OLD.version, 0, 2, True, True),
        (AFTER, 2, 3, True, False),
    ]


def test_a_tick_that_has_passed_is_no_reason_to_wait() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    assert shape(fold.apply([items(0, 9.0), define(1, 3.0), items(2, 9.1)])) == [
        (OLD.version, 0, 2, True, True),
        (AFTER, 2, 3, True, False),
    ]


def test_a_heartbeat_brings_it_too() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    beat = RawRecord(2, RECEIVED_US, "heartbeat", time_us=START_US + 4 * MINUTE_US)
    assert shape(fold.apply([items(0, 0.5), define(1, 3.0), beat, items(3, 4.5)])) == [
        (OLD.version, 0, 2, True, False),
        (OLD.version, 2, 3, False, True),
        (AFTER, 3, 4, False, False),
    ]


def test_a_partition_that_has_left_waits_for_no_tick() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    leave = RawRecord(1, RECEIVED_US, "leave")
    assert shape(fold.apply([items(0, 0.5), leave, define(2, 3.0)])) == [(OLD.version, 0, 3, True, True)]
    assert fold.in_force == AFTER


def test_said_again_it_changes_nothing() -> None:
    fold = IngestFold(Turn(1, OLD), "logs/a")
    slices = fold.apply([items(0, 0.5), define(1, 3.0), define(2, 3.0), items(3, 4.0), define(4, 3.0), items(5, 4.1)])
    assert shape(slices) == [
        (OLD.version, 0, 2, True, False),
        (OLD.version, 2, 4, False, True),
        (AFTER, 4, 6, False, False),
    ]


@given(
    minutes=st.lists(st.floats(0, 8), min_size=1, max_size=25),
    at=st.integers(0, 24),
    from_minute=st.integers(0, 9),
    cuts=st.sets(st.integers(0, 30)),
    restarts=st.sets(st.integers(0, 30)),
)
def test_cuts_and_restarts_change_neither_where_it_takes_over_nor_a_signal(
    minutes: list[float], at: int, from_minute: int, cuts: set[int], restarts: set[int]
) -> None:
    def log(cut: set[int]) -> list[RawRecord]:
        records: list[RawRecord] = []
        run: list[float] = []
        for i, minute in enumerate(minutes):
            if i == min(at, len(minutes) - 1) or i in cut:
                if run:
                    records.append(items(records[-1].end if records else 0, *run))
                run = []
            if i == min(at, len(minutes) - 1):
                records.append(define(records[-1].end if records else 0, from_minute))
            run.append(minute)
        records.append(items(records[-1].end, *run))
        return records

    def output(records: list[RawRecord], restart: set[int]) -> list[tuple[str, object]]:
        fold = IngestFold(Turn(1, OLD), "logs/a")
        made = []
        for i, record in enumerate(records):
            if i in restart:
                fold = IngestFold(Turn(1, OLD), "logs/a", fold.to_bytes())
            made += [(s.definition_at(signal.time_us), signal) for s in fold.apply([record]) for signal in s.signals]
        return made

    made = IngestFold(Turn(1, OLD), "logs/a").apply(log(set()))
    whole = [(s.definition_at(signal.time_us), signal) for s in made for signal in s.signals]
    assert output(log(cuts), restarts) == whole
