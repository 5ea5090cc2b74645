"""Faust's Kafka driver, changed where it would lose records; the only place that reaches into Faust and aiokafka.

Faust hands on what its consumer fetched through queues, and forgets some of it when partitions move. So every record
of ours carries the position of the reader before it (`after`): the host sees what is missing, wherever it was lost.
Positions are sought here, between two fetches, where nothing of the time before the seek is under way any more.
Each override says which failure it prevents, and has a test that fails without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import faust
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode.threads import WorkerThread

from pipeline.errors import LogLost, TocsinError
from pipeline.kafka.step import Place

#: Milliseconds that a fetch waits for records. A partition that has just been read is left out of the fetch that is
#: under way, so its next record waits as long: Faust's 1500 would be the latency of a surge.
FETCH_WAIT_MS = 10


_AFTER = "tocsin_after"


def after(message: Message) -> int:
    """The position of the reader before it came to a record of ours."""
    return int(vars(message)[_AFTER])


class Host(Protocol):
    """Whose folds the partitions feed."""

    def is_ours(self, topic: str) -> bool:
        """Whether the positions of this topic are the host's."""

    def restore(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """These are the partitions that this process has now: from where each must be read."""

    def committable(self) -> Mapping[Place, int]:
        """Up to where the saved rows are."""

    def fail(self, error: BaseException) -> None:
        """The process cannot go on."""


class App(faust.App):
    """A Faust app that knows its host."""

    host: Host


class _Thread(WorkerThread):
    """A thread that does not keep the process alive when its broker does not answer, and dies silently."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True

    def run(self) -> None:
        with suppress(Exception, asyncio.CancelledError):  # Faust has told the app already
            super().run()

    def stop(self) -> None:
        self.is_stopped.wait(1.0)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    Worker = _Thread

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        """Prevents: counting what a scorer has aborted. Faust reads uncommitted records unless it is in a transaction
        itself."""
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(self, *args: Any, **options: Any) -> Any:
        """Prevents: a crash when a standby's changelog is asked for before Faust has sought it. (Ours are never.)"""
        try:
            return await super()._fetch_records(*args, **options)
        except NoOffsetForPartitionError:
            return {}

    def cut(self) -> None:
        """End the thread where it is: a member that is not answered would stay in the group for as long as it waits,
        and hold its partitions."""
        if self._thread is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # it has just ended
                self.thread_loop.call_soon_threadsafe(self.thread_loop.stop)

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Its base prints; who restarts the app says what happened."""


class _Linked(NamedTuple):
    """A fetched record and the position of the reader before it."""

    record: Any
    after: int


@dataclass(frozen=True, slots=True, eq=False)
class _Seek:
    """A seek that is wanted; `position` None: not known yet, nothing may be read before. Two seeks are never equal."""

    position: int | None


class Consumer(driver.Consumer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert isinstance(self.app, App)
        self._host = self.app.host
        self._seeks: dict[TP, _Seek] = {}
        self._positions: dict[TP, int] = {}
        self._generation = -1

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def cut(self) -> None:
        """End its thread, whatever it waits for."""
        assert isinstance(self._thread, ConsumerThread)
        self._thread.cut()

    def rewind(self, place: Place, position: int) -> None:
        """Read a partition again from `position`."""
        self._seeks[TP(*place)] = _Seek(position)

    def fetched(self, place: Place) -> int | None:
        """The position of the reader; None while a seek is under way."""
        tp = TP(*place)
        return None if tp in self._seeks else self._positions.get(tp)

    async def perform_seek(self) -> None:
        """Prevents: going on at the group's committed offset, which is not where the rows are: a process that was
        taken for dead may have written older rows, or committed later. The host would find out seconds later, and
        read again. The folds are restored here too, so that they are those of this generation of the group."""
        self._in_generation()
        self._seeks.update(dict.fromkeys(self._assigned_ours(), _Seek(None)))
        try:
            await super().perform_seek()
        finally:
            try:
                places = {Place(*tp) for tp in self._assigned_ours()}
                positions = self._host.restore(places)
                self._seeks = {TP(*place): _Seek(position) for place, position in positions.items()}
            except TocsinError as error:
                self._host.fail(error)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        """Prevents: silent loss. Faust drops a record below what it has read (at debug level), also one that was
        sought on purpose: its drain writes the old position after the seek. Here its drain has handed on all that was
        fetched before. Each record gets the position that the reader had before it."""
        generation = self._in_generation()
        await self._seek_wanted()
        readable = {tp for tp in active_partitions or () if not self._host.is_ours(tp.topic) or self._is_read(tp)}
        if not readable:
            await self.sleep(0.02)
            return {}
        fetched = await super()._getmany(readable, timeout)
        stale = generation != self._in_generation()
        return {
            tp: self._linked(tp, records) if self._host.is_ours(tp.topic) else records
            for tp, records in fetched.items()
            if not (self._host.is_ours(tp.topic) and (stale or not self._is_read(tp)))
        }

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, _Linked):
            return super()._to_message(tp, record)
        message = super()._to_message(tp, record.record)
        vars(message)[_AFTER] = record.after
        return message

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Prevents: committing what is in no row yet, and a commit that crawls: Faust commits what its agents have
        acknowledged without a hole, and every transaction leaves a marker's hole."""
        for tp in tps:
            self._acked[tp].clear()
            self._acked_index[tp].clear()
            self._gap.pop(tp, None)
        done = {TP(*place): position for place, position in self._host.committable().items()}
        return {tp: position for tp, position in done.items() if self._should_commit(tp, position)}

    def _assigned_ours(self) -> set[TP]:
        return {tp for tp in self.assignment() if self._host.is_ours(tp.topic)}

    def _is_read(self, tp: TP) -> bool:
        return tp in self._positions and tp not in self._seeks

    def _in_generation(self) -> int:
        """The group's generation; positions of an earlier one mean nothing."""
        now = self.app.consumer_generation_id
        if now != self._generation:
            self._generation = now
            self._positions.clear()
            self._seeks.clear()
        return now

    def _linked(self, tp: TP, records: list[Any]) -> list[_Linked]:
        linked = []
        position = self._positions[tp]
        for record in records:
            linked.append(_Linked(record, position))
            position = record.offset + 1
        self._positions[tp] = position
        return linked

    async def _seek_wanted(self) -> None:
        wanted = {tp: seek for tp, seek in self._seeks.items() if seek.position is not None}
        if not wanted:
            return
        try:
            starts = await self.earliest_offsets(*wanted)
            ends = await self.highwaters(*wanted)
            for tp, seek in wanted.items():
                position = seek.position or 0
                check_bounds(Place(*tp), position, starts[tp], ends[tp])
                await self.seek_wait({tp: position})
                if self._seeks.get(tp) is seek:
                    self._positions[tp] = position
                    del self._seeks[tp]
        except IllegalStateError:
            return  # the partition has just moved on
        except TocsinError as error:
            self._host.fail(error)


def check_bounds(place: Place, position: int, start: int, end: int) -> None:
    """Raises LogLost where the log does not hold `position`."""
    what, where = f"the aggregator's state goes on at offset {position}", f"{place.topic}/{place.partition}"
    if position < start:
        raise LogLost(
            f"{what} of {where}, and the log begins at {start} now: what lay between is lost. Replay the streams into "
            "a new deployment (another TOCSIN_KAFKA_PREFIX); a longer TOCSIN_RAW_RETENTION_DAYS keeps more"
        )
    if position > end:
        raise LogLost(
            f"{what} of {where}, and the log ends at {end}: the topic was made anew, or lost its end. Restore it, or "
            "replay the streams into a new deployment (another TOCSIN_KAFKA_PREFIX)"
        )


class Transport(driver.Transport):
    Consumer = Consumer
