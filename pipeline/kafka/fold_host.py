"""The folds of one process: they take records, what they say is sent, their rows are saved, what is missing is read.

Delivery: at least once. What a fold says is at Kafka before the row that has it, and rows before what is committed; who
takes over repeats what came after the row, byte for byte. Ordering: as in the partition. A record that is missing
is read again, at most once a second. Raises (through `check`): LogLost where it stays missing, UnknownRecord for bytes
that nobody of ours wrote, and whatever a fold raises: none is skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from pipeline.errors import LogLost, TocsinError
from pipeline.kafka.bucket_partition import BucketPartition, records_of
from pipeline.kafka.decoding import decoded
from pipeline.kafka.judge_partition import JudgePartition
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.kafka.topics import MAX_MESSAGE_BYTES
from pipeline.kafka.worker import Context
from pipeline.records import TallyBatch, VerdictBatch, encode
from pipeline.streams import Definition

log = structlog.get_logger()

#: The part of the time that checkpoints may take.
CHECKPOINT_SHARE = 0.05
#: Seconds between two attempts to read a partition again.
REWIND_S = 1.0
#: Attempts that find the same record missing before the whole topic is read, and after that nobody goes on.
ATTEMPTS = 3
#: Seconds after which a record that was fetched and never came counts as missing: when nothing of its topic is under
#: way, and in any case.
STUCK_S = (3.0, 60.0)
#: Largest row; the rest of the largest record is for what Kafka adds.
MOST_ROW_BYTES = MAX_MESSAGE_BYTES - 64 * 2**10
#: Seconds that partitions which leave are saved for.
RELEASE_S = 2.5


class Shell(Protocol):
    """What the host needs of the app; `FaustApp` is one."""

    def rows(self, table: str, partition: int) -> list[bytes]: ...

    async def send(self, topic: str, partition: int, key: bytes, value: bytes) -> asyncio.Future[object]: ...

    async def write(self, table: str, partition: int, key: bytes, value: bytes) -> None: ...

    def rewind(self, place: Place, position: int) -> None: ...

    def fetched(self, place: Place) -> int | None: ...


@dataclass(slots=True, eq=False)
class _Hosted:
    """A partition of this process. `lock` is held while a record is folded and what it causes is handed to the
    producer, so that no row is made in between; `sent` are the outputs that Kafka has not confirmed."""

    table: str
    partition: BucketPartition | JudgePartition
    saved_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: set[asyncio.Future[object]] = field(default_factory=set)
    came_at: float = field(default_factory=time.monotonic)
    rewound_at: float = 0.0
    missing_at: int = -1
    attempts: int = 0


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
        self._hosted: dict[Place, _Hosted] = {}
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
        return {place: hosted.partition.next for place, hosted in self._hosted.items()}

    def committable(self) -> Mapping[Place, int]:
        return {place: hosted.partition.saved_position for place, hosted in self._hosted.items()}

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

    async def _take(self, place: Place, hosted: _Hosted, after: int, offset: int, value: bytes) -> None:
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
                partition = hosted.partition
                if isinstance(partition, BucketPartition):
                    for batch in partition.apply(after, offset, tallies):
                        part = self._names.judge_partition(batch.stream)
                        for record in records_of(batch):
                            await self._send(hosted, self._names.verdicts, part, batch.stream.encode(), record)
                else:
                    for transition in partition.apply(after, offset, verdicts):
                        part = self._names.surge_partition(transition.stream)
                        await self._send(hosted, self._names.surges, part, transition.id.encode(), encode(transition))
            except BaseException:
                # The fold has the record, and not all that it caused is sent: never save it.
                self._hosted.pop(place, None)
                raise

    async def tend(self) -> None:
        """Begin everything that is due: reading again, a checkpoint. Never waits; to be called many times a second."""
        now = time.monotonic()
        for place, hosted in self._hosted.items():
            self._mend(place, hosted, now)
        if self._checkpoint is not None and self._checkpoint.done():
            self._checkpoint.result()
            self._checkpoint = None
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
                lag = max(0, end - hosted.partition.next)
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

    def _restored(self, place: Place) -> _Hosted:
        assert self._shell is not None
        now = time.monotonic()
        number, topic_id = place.partition, self._topic_ids[place.topic]
        if place.topic == self._names.tallies:
            rows = self._shell.rows("buckets", number)
            return _Hosted("buckets", BucketPartition(number, topic_id, self._known, rows), now)
        rows = self._shell.rows("judges", number)
        judges = JudgePartition(number, topic_id, self._known, run=self._run, buckets=self._names.buckets, rows=rows)
        return _Hosted("judges", judges, now)

    def _known(self, stream: str, generation: str) -> Definition:
        return self._definitions[stream, generation]

    async def _learn(self, names: Iterable[tuple[str, str]]) -> None:
        """Know these definitions; reads the registry, which blocks, for those that are new."""
        for name in names:
            if name not in self._definitions:
                self._definitions[name] = await asyncio.to_thread(self._definition_of, *name)

    async def _send(self, hosted: _Hosted, topic: str, partition: int, key: bytes, value: bytes) -> None:
        assert self._shell is not None
        sending = await self._shell.send(topic, partition, key, value)
        hosted.sent.add(sending)

        def sent(done: asyncio.Future[object]) -> None:
            hosted.sent.discard(done)
            if not done.cancelled() and (error := done.exception()) is not None:
                self.fail(error)

        sending.add_done_callback(sent)

    async def _save(self, hosted: _Hosted, *, everything: bool = False) -> None:
        """Write the rows that have changed: outputs first, then the rows of folds that had none, then the others."""
        assert self._shell is not None
        async with hosted.saving:
            async with hosted.lock:
                began = time.monotonic()
                rows = hosted.partition.unsaved(everything=everything)
                outputs = list(hosted.sent)
                cost = time.monotonic() - began
            hosted.saved_at = began
            if not rows:
                return
            self._next_checkpoint = began + cost / CHECKPOINT_SHARE
            if outputs:
                await asyncio.gather(*outputs)
            number = hosted.partition.number
            for row in rows:
                if len(row.value) > MOST_ROW_BYTES:
                    raise TocsinError(
                        f"the state of bucket {number} of stream {row.name[0]} has {len(row.value):,} bytes, more than "
                        f"the {MOST_ROW_BYTES:,} that a record of Kafka may have here; replay the stream into a "
                        "deployment with more buckets (TOCSIN_BUCKETS), or give it fewer members (max_members)"
                    )
            for part in ([row for row in rows if row.first], [row for row in rows if not row.first]):
                await asyncio.gather(*(self._shell.write(hosted.table, number, row.key, row.value) for row in part))
            hosted.partition.saved(rows)
        self._context.metrics.checkpoint_cost.observe(time.monotonic() - began)
        self._context.metrics.checkpoint_bytes.inc(sum(len(row.value) for row in rows))

    def _mend(self, place: Place, hosted: _Hosted, now: float) -> None:
        """Read a partition again where something is missing."""
        assert self._shell is not None
        partition = hosted.partition
        fetched = self._shell.fetched(place)
        if fetched is None or now - hosted.rewound_at < REWIND_S or hosted.lock.locked():
            return
        if not (partition.gap or partition.jumped or (fetched > partition.next and self._is_stuck(place, hosted, now))):
            return
        if partition.gap is not None:
            hosted.attempts = hosted.attempts + 1 if partition.position == hosted.missing_at else 1
            hosted.missing_at = partition.position
            if hosted.attempts > ATTEMPTS:
                if not partition.rewind_to_start():
                    raise LogLost(
                        f"a record of {place.topic}/{place.partition} stays missing after it was read again from the "
                        f"start ({partition.gap}); nothing was skipped. Restore the topic, or replay the streams into "
                        "a new deployment (another TOCSIN_KAFKA_PREFIX)"
                    )
                hosted.attempts = 0
        why = str(partition.gap or ("a record did not follow" if partition.jumped else "a record never came"))
        position = partition.rewind()
        hosted.rewound_at = now
        self._shell.rewind(place, position)
        self._context.metrics.rewinds.labels(place.topic, str(place.partition)).inc()
        log.info("rewound", worker="aggregate", topic=place.topic, partition=place.partition, to=position, why=why)

    def _is_stuck(self, place: Place, hosted: _Hosted, now: float) -> bool:
        """Whether what was fetched should have come by now."""
        idle, busy = STUCK_S
        last = max(hosted.came_at, hosted.rewound_at)
        if not self._taking[place.topic] and now - max(last, self._took_at[place.topic]) > idle:
            return True
        return now - last > busy
