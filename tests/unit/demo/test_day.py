"""The generated day: the same for a seed, readable throughout, and as large as the demonstration can carry."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

import pipeline.demo
from pipeline import stream_file
from pipeline.demo.day import Day, generate
from pipeline.demo.hours import DAY_END_US, DAY_START_US
from pipeline.ingest.fold import IngestFold
from pipeline.instants import HOUR_US
from pipeline.records import RawRecord, SignalSlice
from pipeline.scoring.template import scored_texts
from pipeline.streams import Turn

STREAMS = stream_file.load(Path(pipeline.demo.__file__).with_name("demo_streams.toml")).streams


@cache
def day_of(seed: int) -> Day:
    return generate(seed)


@pytest.fixture(scope="module")
def day() -> Day:
    return day_of(3)


def ingested(day: Day, stream: str) -> tuple[IngestFold, SignalSlice]:
    definition = STREAMS[stream]
    fold = IngestFold(Turn(1, definition), definition.clocks[0])
    payloads = [item.payload for item in day.items[stream]]
    record = RawRecord(position=0, received_us=DAY_END_US, form=day.forms[stream], source="push", payloads=payloads)
    (slice,) = fold.apply([record])
    return fold, slice


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert generate(3) == day_of(3)


def test_another_seed_gives_another_day() -> None:
    one, other = day_of(3), day_of(2)
    assert one.planted != other.planted
    assert all(one.items[stream] != other.items[stream] for stream in STREAMS)


@pytest.mark.parametrize("stream", STREAMS)
def test_every_item_is_read_in_time_and_as_what_it_was_made(day: Day, stream: str) -> None:
    fold, slice = ingested(day, stream)
    assert (fold.counts.dead, fold.counts.duplicates, fold.counts.late) == (0, 0, 0)
    assert fold.counts.counted == len(day.items[stream])
    for item, signal in zip(day.items[stream], slice.signals, strict=True):
        # log lines are written to the millisecond at least
        assert 0 <= item.time_us - signal.time_us < 1000
        assert "unknown" not in signal.values
        assert "{" not in signal.text


@pytest.mark.parametrize("stream", STREAMS)
def test_a_few_items_arrive_out_of_order(day: Day, stream: str) -> None:
    times = [item.time_us for item in day.items[stream]]
    early = sum(b < a for a, b in pairwise(times))
    assert 0.005 * len(times) < early < 0.05 * len(times)


def test_a_log_line_names_its_service_and_host(day: Day) -> None:
    _, slice = ingested(day, "logs")
    assert {signal.values for signal in slice.signals} >= {("payments", "pay1"), ("nginx", "web1"), ("kernel", "db1")}


@pytest.mark.parametrize("seed", range(1, 4))
def test_surges_are_planted_where_they_can_be_learned_and_seen_to_end(seed: int) -> None:
    planted = day_of(seed).planted
    kinds = [surge.stream for surge in planted]
    assert kinds.count("news") == 2
    assert kinds.count("logs") in (2, 3)
    assert kinds.count("health") in (1, 2)
    for surge in planted:
        assert DAY_START_US + 6 * HOUR_US <= surge.start_us < surge.end_us <= DAY_START_US + 22 * HOUR_US
        assert "{" not in surge.what
    assert len({(surge.stream, surge.group) for surge in planted}) == len(planted)


@pytest.mark.parametrize("seed", range(1, 4))
def test_surges_of_one_stream_stand_apart(seed: int) -> None:
    for stream in STREAMS:
        planted = [surge for surge in day_of(seed).planted if surge.stream == stream]
        for one, other in pairwise(planted):
            assert one.end_us < other.start_us


def test_planted_ids_are_items_within_their_surge(day: Day) -> None:
    for surge in day.planted:
        if day.forms[surge.stream] == "line":
            assert not surge.ids
            continue
        times = {msgspec.json.decode(item.payload)["id"]: item.time_us for item in day.items[surge.stream]}
        assert len(surge.ids) > 30
        assert all(surge.start_us <= times[id] < surge.end_us for id in surge.ids)


def test_a_day_can_be_scored_in_seconds(day: Day) -> None:
    prose = {signal.text for stream in ("news", "health") for signal in ingested(day, stream)[1].signals}
    assert 3_000 < len(prose) <= 5_500
    lines = [signal.text for signal in ingested(day, "logs")[1].signals]
    assert 18_000 < len(lines) < 20_500
    assert len(set(scored_texts("logs", lines))) < 400
