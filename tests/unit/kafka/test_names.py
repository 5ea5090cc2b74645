"""Names: which topics and partitions things go to, from settings alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.names import Names
from pipeline.settings import Settings
from pipeline.stream_file import parse


def _names(*, raw: int = 1, signals: int = 4, buckets: int = 4, prefix: str = "tocsin") -> Names:
    return Names(prefix, raw_partitions=raw, signal_partitions=signals, buckets=buckets)


def test_a_clock_is_a_partition_of_a_raw_topic_and_back() -> None:
    names = _names(prefix="a.b", raw=3)
    clock = names.clock("a.b.raw.logs.web-1", 2)
    assert clock == "logs/web-1/2"
    assert names.raw_place(clock) == ("a.b.raw.logs.web-1", 2)


@pytest.mark.parametrize("raw", [4, 6, 8, 12])
@pytest.mark.parametrize("signals", [2, 3, 4, 6])
def test_the_clocks_of_a_source_are_spread_evenly(raw: int, signals: int) -> None:
    names = _names(raw=raw, signals=signals)
    found = Counter(names.signal_partition(f"logs/push/{n}") for n in range(raw))
    assert len(found) == min(raw, signals)
    assert max(found.values()) - min(found.values()) <= 1


def test_where_things_go_never_changes() -> None:
    # Another place for a clock would take its slices past what their readers have covered.
    names = _names()
    assert names.signal_partition("logs/push/0") == 0
    assert names.signal_partition("logs/push/1") == 1
    assert names.judge_partition("logs") == names.surge_partition("logs") == 0
    assert names.judge_partition("health") == 3


def test_two_prefixes_share_nothing() -> None:
    one, other = _names(prefix="a"), _names(prefix="b")
    for topic in ("signals", "scores", "tallies", "verdicts", "surges", "dead", "registry"):
        assert getattr(one, topic) != getattr(other, topic)
    assert one.group("ingest") != other.group("ingest")
    assert one.changelog("buckets") != other.changelog("buckets")


@given(
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,9}", fullmatch=True),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True),
    st.integers(0, 1023),
    st.integers(1, 64),
    st.integers(1, 64),
)
def test_every_clock_has_its_place_whatever_streams_and_sources_are_called(
    prefix: str, stream: str, source: str, number: int, signals: int, buckets: int
) -> None:
    names = _names(prefix=prefix, signals=signals, buckets=buckets)
    topic = names.raw(stream, source)
    assert names.source_of(topic) == (stream, source)
    clock = names.clock(topic, number)
    assert names.raw_place(clock) == (topic, number)
    assert names.signal_partition(clock) in range(signals)
    assert names.surge_partition(stream) in range(signals)
    assert names.judge_partition(stream) in range(buckets)


def test_a_stream_has_a_clock_for_each_partition_of_each_source() -> None:
    text = """
    [streams.logs]
    kind = "logs"
    tick = "1m"
    sources = [{ kind = "push", name = "web" }, { kind = "push", name = "mail" }]
    """
    names = Names.of(Settings(kafka_raw_partitions=2))
    definition = names.defined(parse(text, "test").streams["logs"])
    assert definition.clocks == ("logs/web/0", "logs/web/1", "logs/mail/0", "logs/mail/1")
