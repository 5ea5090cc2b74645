"""The folds of one process: they take records, what they say is sent, their rows are saved, what is missing is read.

Delivery: at least once. What a fold says is at Kafka before the row that has it, and rows before what is committed; who
takes over repeats what came after the row, byte for byte. Ordering: as in the partition. A record that is missing
is read again, at most once a second. Raises (through `check`): LogLost where it stays missing, UnknownRecord for bytes
that nobody of ours wrote, and whatever a fold raises: none is skipped.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from pipeline.kafka.bucket_partition import BucketPartition, records_of
from pipeline.kafka.decoding import decoded
from pipeline.kafka.hosted_partition import HostedPartition, Shell
from pipeline.kafka.judge_partition import JudgePartition
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.kafka.worker import Context
from pipeline.records import TallyBatch, VerdictBatch, encode
from pipeline.streams import Definition

log = structlog.get_logger()

#: The part of the time that checkpoints may take.
CHECKPOINT_SHARE = 0.05
#: Seconds that partitions which leave are saved for.
RELEASE_S = 2.5


class FoldHost:
    """The bucket and judge partitions that this process has now."""

    def __init__(
        self, context: Context, definition_of: Callable[[str, str], Definition], topic_ids: Mapping[str, str], run: str
    ) -> None:
        """`definition_of` may read Kafka; `topic_ids` are those of tallies and verdicts."""
        self._context = context
        self._names = Names.of(context.settings)
        self._definition_of = definition_of
        self._definitions: dict[tuple[str, str], Definition] = {}
        self._topic_ids = topic_ids
        self._run = run
        self._shell: Shell | None = None
        self._hosted: dict[Place, HostedPartition] = {}
        self._failure: BaseException | None = None
        self._closed = False
        self._next_checkpoint = 0.0
        self._checkpoint: asyncio.Future[None] | None = None
        self._measured: set[Place] = set()
        self._taking = dict.fromkeys(topic_ids, 0)
        self._took_at = dict.fromkeys(topic_ids, time.monotonic())

    def attach(self, shell: Shell) -> None:
        """From now on this is the app."""
        self._shell = shell

    def is_ours(self, topic: str) -> bool:
        return topic in self._topic_ids

    def fail(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def check(self) -> None:
        """Raises what the process cannot go on after."""
        if self._failure is not None:
            raise self._failure

    def restore(self, places: Iterable[Place]) -> Mapping[Place, int]:
        self._hosted = {place: self._restored(place) for place in places}
        return {place: hosted.folds.next for place, hosted in self._hosted.items()}

    def committable(self) -> Mapping[Place, int]:
        return {place: hosted.folds.saved_position for place, hosted in self._hosted.items()}

    async def take(self, place: Place, after: int, offset: int, value: bytes) -> None:
        hosted = self._hosted.get(place)
        if hosted is None or self._closed:
            return
        hosted.came_at = time.monotonic()
        self._taking[place.topic] += 1
        try:
            await self._take(place, hosted, after, offset, value)
        finally:
            self._taking[place.topic] -= 1
            self._took_at[place.topic] = time.monotonic()

    async def _take(self, place: Place, hosted: HostedPartition, after: int, offset: int, value: bytes) -> None:
        if place.topic == self._names.tallies:
            tallies = decoded(place, offset, value, TallyBatch)
            await self._learn((slice.stream, slice.definition) for slice in tallies.slices)
        else:
            verdicts = decoded(place, offset, value, VerdictBatch)
            await self._learn([(verdicts.stream, verdicts.generation)])
        async with hosted.lock:
            if self._hosted.get(place) is not hosted or self._closed:
                return  # the partition moved on while this waited
            try:
                folds = hosted.folds
                if isinstance(folds, BucketPartition):
                    for batch in folds.apply(after, offset, tallies):
                        part = self._names.judge_partition(batch.stream)
                        for record in records_of(batch):
                            await self._send(hosted, self._names.verdicts, part, batch.stream.encode(), record)
                else:
                    for transition in folds.apply(after, offset, verdicts):
                        part = self._names.surge_partition(transition.stream)
                        await self._send(hosted, self._names.surges, part, transition.id.encode(), encode(transition))
            except BaseException:
                # The fold has the record, and not all that it caused is sent: never save it.
                self._hosted.pop(place, None)
                raise

    async def tend(self) -> None:
        """Begin everything that is due: reading again, a checkpoint. Never waits; to be called many times a second."""
        for hosted in self._hosted.values():
            self._mend(hosted)
        if self._checkpoint is not None and self._checkpoint.done():
            self._checkpoint.result()
            self._checkpoint = None
        now = time.monotonic()
        if self._checkpoint is None and now >= self._next_checkpoint and self._hosted:
            oldest = min(self._hosted.values(), key=lambda hosted: hosted.saved_at)
            if now - oldest.saved_at >= self._context.settings.checkpoint_s:
                self._checkpoint = asyncio.ensure_future(self._save(oldest))

    def measure(self, ends: Callable[[Place], int | None]) -> None:
        """Set the gauges; `ends` are the ends of the partitions."""
        metrics, now = self._context.metrics, time.monotonic()
        for place in self._measured - self._hosted.keys():
            for gauge in (metrics.checkpoint_age, metrics.lag_records):
                with suppress(KeyError):  # whoever has it now tells
                    gauge.remove(place.topic, str(place.partition))
        self._measured = set(self._hosted)
        for place, hosted in self._hosted.items():
            metrics.checkpoint_age.labels(place.topic, str(place.partition)).set(now - hosted.saved_at)
            end = ends(place)
            if end is not None:
                lag = max(0, end - hosted.folds.next)
                metrics.lag_records.labels(place.topic, str(place.partition)).set(lag)

    async def release(self) -> None:
        await self._save_all()
        self._hosted.clear()

    async def close(self) -> None:
        """Take nothing any more, and save everything."""
        self._closed = True
        await self._save_all()

    async def _save_all(self) -> None:
        saving = [asyncio.ensure_future(self._save(h, everything=True)) for h in self._hosted.values()]
        if saving:
            done, late = await asyncio.wait(saving, timeout=RELEASE_S)
            for one in late:
                one.cancel()  # what is not saved is folded again by who takes over
            for one in done:
                if one.exception() is not None:
                    log.warning("checkpoint_failed", worker="aggregate", error=str(one.exception()))

    def _restored(self, place: Place) -> HostedPartition:
        assert self._shell is not None
        number, topic_id = place.partition, self._topic_ids[place.topic]
        if place.topic == self._names.tallies:
            rows = self._shell.rows("buckets", number)
            return HostedPartition(place, "buckets", BucketPartition(number, topic_id, self._known, rows))
        rows = self._shell.rows("judges", number)
        judges = JudgePartition(number, topic_id, self._known, run=self._run, buckets=self._names.buckets, rows=rows)
        return HostedPartition(place, "judges", judges)

    def _known(self, stream: str, generation: str) -> Definition:
        return self._definitions[stream, generation]

    async def _learn(self, names: Iterable[tuple[str, str]]) -> None:
        """Know these definitions; reads the registry, which blocks, for those that are new."""
        for name in names:
            if name not in self._definitions:
                self._definitions[name] = await asyncio.to_thread(self._definition_of, *name)

    async def _send(self, hosted: HostedPartition, topic: str, partition: int, key: bytes, value: bytes) -> None:
        assert self._shell is not None
        sending = await self._shell.send(topic, partition, key, value)
        hosted.sent.add(sending)

        def sent(done: asyncio.Future[object]) -> None:
            hosted.sent.discard(done)
            if not done.cancelled() and (error := done.exception()) is not None:
                self.fail(error)

        sending.add_done_callback(sent)

    async def _save(self, hosted: HostedPartition, *, everything: bool = False) -> None:
        assert self._shell is not None
        began = time.monotonic()
        rows, stopped_s = await hosted.save(self._shell, self.check, everything=everything)
        self._next_checkpoint = began + stopped_s / CHECKPOINT_SHARE
        if rows:
            self._context.metrics.checkpoint_cost.observe(time.monotonic() - began)
            self._context.metrics.checkpoint_bytes.inc(sum(len(row.value) for row in rows))

    def _mend(self, hosted: HostedPartition) -> None:
        """Read a partition again where something is missing."""
        assert self._shell is not None
        place = hosted.place
        quiet_since = math.inf if self._taking[place.topic] else self._took_at[place.topic]
        why = hosted.missing(self._shell.fetched(place), quiet_since)
        if why is None:
            return
        position = hosted.rewind()
        self._shell.rewind(place, position)
        self._context.metrics.rewinds.labels(place.topic, str(place.partition)).inc()
        log.info("rewound", worker="aggregate", topic=place.topic, partition=place.partition, to=position, why=why)
