"""The host of the folds: outputs before rows, rows of new folds before others, and no row of what was not sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import LogLost
from pipeline.instants import DAY_US, MINUTE_US
from pipeline.kafka.fold_host import FoldHost
from pipeline.kafka.health import Health
from pipeline.kafka.step import Place
from pipeline.kafka.worker import Context
from pipeline.records import TallyBatch, TallySlice, encode
from pipeline.settings import Settings
from pipeline.stream_file import load
from pipeline.streams import Definition, adapted

NOW_US = 20_000 * DAY_US
A = Definition(name="s", kind="logs", tick_us=MINUTE_US, clock="data", clocks=("s/p",))
GENERATIONS = {"1": A, "2": adapted(A, q=0.05)}
PLACE = Place("t.tallies", 0)


class Broker:
    """What is at Kafka, in the order in which it came there; outputs only when `confirm` is set."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.confirm = asyncio.Event()
        self.fails = False
        self.sought: list[int] = []

    def rows(self, table: str, partition: int) -> list[bytes]:
        return []

    async def send(self, topic: str, partition: int, key: bytes, value: bytes) -> asyncio.Future[object]:
        return asyncio.ensure_future(self._deliver(topic))

    async def write(self, table: str, partition: int, key: bytes, value: bytes) -> None:
        self.log.append(f"begin {key.decode()}")
        await asyncio.sleep(0)
        self.log.append(f"row {key.decode()}")

    def rewind(self, place: Place, position: int) -> None:
        self.sought.append(position)

    def fetched(self, place: Place) -> int | None:
        return 0

    async def _deliver(self, topic: str) -> object:
        await self.confirm.wait()
        if self.fails:
            raise OSError("the broker is gone")
        self.log.append(topic)
        return None


def hosted(tmp_path: Path) -> tuple[FoldHost, Broker]:
    settings = Settings(data=tmp_path, kafka="nowhere:1", kafka_prefix="t", buckets=1)
    context = Context(settings=settings, file=load(None), health=Health("aggregate"))
    host = FoldHost(context, lambda _, name: GENERATIONS[name], {"t.tallies": "1", "t.verdicts": "2"}, "live")
    broker = Broker()
    host.attach(broker)
    host.restore([PLACE])
    return host, broker


def tallies(start: int, minute: int, generation: str = "1", **changes: Any) -> bytes:
    slice = TallySlice(
        stream="s",
        definition=generation,
        bucket=0,
        partition="s/p",
        start=start,
        end=start + 1,
        begins=start == 0,
        watermark_us=NOW_US + minute * MINUTE_US,
        touched=[A.ticks.index(NOW_US + minute * MINUTE_US)],
        model="m",
        tallies={},
    )
    return encode(TallyBatch(0, [slice]))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_a_row_is_written_when_what_its_fold_said_is_at_kafka(tmp_path: Path) -> None:
    async def test() -> None:
        host, broker = hosted(tmp_path)
        await host.take(PLACE, 0, 0, tallies(0, 0))
        await host.take(PLACE, 1, 1, tallies(1, 5))
        closing = asyncio.ensure_future(host.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert broker.log == []
        assert host.committable() == {PLACE: 0}
        broker.confirm.set()
        await closing
        assert broker.log == ["t.verdicts", "begin s/1/0", "row s/1/0"]
        assert host.committable() == {PLACE: 2}

    run(test())


def test_the_row_of_a_new_fold_is_safe_before_any_other_is_written(tmp_path: Path) -> None:
    async def test() -> None:
        host, broker = hosted(tmp_path)
        broker.confirm.set()
        await host.take(PLACE, 0, 0, tallies(0, 0))
        await host.release()
        host.restore([PLACE])
        await host.take(PLACE, 0, 0, tallies(0, 0))
        await host.take(PLACE, 1, 1, tallies(0, 0, "2"))
        broker.log.clear()
        await host.close()
        assert broker.log == ["begin s/1/0", "begin s/2/0", "row s/1/0", "row s/2/0"]

    run(test())


def test_an_output_that_kafka_did_not_take_ends_the_process_before_any_row(tmp_path: Path) -> None:
    async def test() -> None:
        host, broker = hosted(tmp_path)
        broker.fails = True
        broker.confirm.set()
        await host.take(PLACE, 0, 0, tallies(0, 0))
        await host.take(PLACE, 1, 1, tallies(1, 5))
        await host.close()
        assert broker.log == []
        with pytest.raises(OSError, match="is gone"):
            host.check()

    run(test())


def test_a_record_that_is_cut_off_while_it_is_sent_is_never_in_a_row(tmp_path: Path) -> None:
    async def test() -> None:
        host, broker = hosted(tmp_path)

        async def never(*_: object) -> asyncio.Future[object]:
            await asyncio.Event().wait()
            raise AssertionError

        await host.take(PLACE, 0, 0, tallies(0, 0))
        broker.send = never  # type: ignore[method-assign]
        taking = asyncio.ensure_future(host.take(PLACE, 1, 1, tallies(1, 5)))
        await asyncio.sleep(0.01)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await host.close()
        assert broker.log == []

    run(test())


def test_what_stays_missing_is_read_again_and_then_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kafka.hosted_partition.REWIND_S", 0.0)

    async def test() -> None:
        host, broker = hosted(tmp_path)
        await host.take(PLACE, 0, 0, tallies(0, 0))

        async def read_on() -> None:
            for _ in range(100):
                await host.take(PLACE, 1, 1, tallies(4, 5))
                await host.tend()
                if broker.sought[-1] == 0:
                    await host.take(PLACE, 0, 0, tallies(0, 0))

        with pytest.raises(LogLost, match="nothing was skipped"):
            await read_on()
        assert broker.sought == [1, 1, 1, 0, 1, 1, 1]

    run(test())
