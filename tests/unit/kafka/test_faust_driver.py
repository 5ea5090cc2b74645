"""What we override in Faust is still there, called as we expect; a new version of Faust or aiokafka must pass this."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import NoOffsetForPartitionError
from faust.tables.base import Collection
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers import aiokafka as driver

from pipeline.errors import LogLost
from pipeline.kafka.faust_driver import Consumer, ConsumerThread, check_bounds
from pipeline.kafka.step import Place


@pytest.mark.parametrize(
    ("base", "name", "parameters"),
    [
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (
            driver.AIOKafkaConsumerThread,
            "_fetch_records",
            ["self", "consumer", "active_partitions", "timeout", "max_records"],
        ),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.Consumer, "_to_message", ["self", "tp", "record"]),
        (FaustConsumer, "perform_seek", ["self"]),
        (FaustConsumer, "_filter_committable_offsets", ["self", "tps"]),
        (driver.Consumer, "_getmany", ["self", "active_partitions", "timeout"]),
        (driver.Consumer, "seek_wait", ["self", "partitions"]),
        (
            Collection,
            "send_changelog",
            ["self", "partition", "key", "value", "key_serializer", "value_serializer"],
        ),
    ],
)
def test_what_is_overridden_or_called_takes_what_it_took(base: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(base, name)).parameters) == parameters


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (FaustConsumer._drain_messages, ["getmany(timeout=", "callback(message)", "set_read_offset(tp, offset)"]),
        (FaustConsumer.getmany, ["self._wait_next_records(timeout)", "to_message(tp, record)"]),
        (FaustConsumer._wait_next_records, ["await self._getmany("]),
        (FaustConsumer._commit_tps, ["self._filter_committable_offsets(tps)"]),
        (
            AIOKafkaConsumer.start,
            ["isolation_level=self._isolation_level", "fetch_max_wait_ms=self._fetch_max_wait_ms"],
        ),
        (Fetcher.seek_to, ["del self._records[tp]"]),
    ],
)
def test_what_we_rely_on_is_still_done_there(place: Any, words: list[str]) -> None:
    """Overrides are only worth something where Faust calls them: a record is fetched, handed on and forgotten so."""
    source = inspect.getsource(place)
    assert [word for word in words if word not in source] == []


def test_the_versions_are_those_that_were_measured() -> None:
    assert (version("faust-streaming"), version("aiokafka")) == ("0.15.3", "0.14.0")


def test_a_changelog_that_has_not_been_sought_yet_has_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise NoOffsetForPartitionError("changelog")

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fails)
    thread = object.__new__(ConsumerThread)
    assert asyncio.run(thread._fetch_records()) == {}


def test_overrides_are_ours() -> None:
    ours = ("perform_seek", "_getmany", "_to_message", "_filter_committable_offsets", "_new_consumer_thread")
    assert all(name in vars(Consumer) for name in ours)
    assert "_create_worker_consumer" in vars(ConsumerThread)


def test_a_position_outside_the_log_is_an_error_that_says_what_to_do() -> None:
    check_bounds(Place("t", 0), 5, 5, 5)
    with pytest.raises(LogLost, match=r"goes on at offset 4 of t/0, and the log begins at 5.*new deployment"):
        check_bounds(Place("t", 0), 4, 5, 9)
    with pytest.raises(LogLost, match=r"goes on at offset 10 of t/0, and the log ends at 9.*made anew"):
        check_bounds(Place("t", 0), 10, 5, 9)
