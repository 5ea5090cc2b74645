"""`tocsin run ingest`: raw topics in, signals and dead letters out, and heartbeats for raw partitions at rest.

Each raw partition is a clock with a fold of its own, whose state is committed as the metadata of the offset. Which
topics there are is found by their names; a clock that the registry does not know yet waits until it does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.clock import now_us
from pipeline.errors import LogLost, UnknownRecord
from pipeline.ingest.fold import IngestFold
from pipeline.instants import SECOND_US
from pipeline.kafka import wire
from pipeline.kafka.client import producer_config
from pipeline.kafka.clock_states import kept_fold
from pipeline.kafka.ingest_state import decode_state, encode_state
from pipeline.kafka.readback import read_back
from pipeline.kafka.registry import Registry, clock_key
from pipeline.kafka.seen_ids import IdTrail
from pipeline.kafka.step import Assigned, Done, Output, Place
from pipeline.kafka.transactions import run_transactions
from pipeline.kafka.wire import Message
from pipeline.kafka.worker import Context, patiently
from pipeline.records import LEFT_US, LostItem, SignalSlice, decode, encode
from pipeline.runtime.heartbeats import Idleness

log = structlog.get_logger()

WORKER = "ingest"
#: Milliseconds after which a heartbeat that Kafka has not taken is dropped; another one follows.
BEAT_MS = 2_000
#: Bytes of items that go into one slice: with all that is added to them on their way it stays far below the largest
#: record. A client hands out more at once when it is behind.
MOST_SLICE_BYTES = 2 * 2**20


@dataclass(slots=True)
class _Clock:
    """One raw partition while it is this worker's."""

    name: str
    source: str
    topic_id: str
    fold: IngestFold
    trail: IdTrail
    known: bool  # the registry knows that it has begun
    idleness: Idleness
    at_end: bool = False


class IngestStep:
    """See `pipeline.kafka.step.Step`."""

    def __init__(self, context: Context, registry: Registry) -> None:
        self._context = context
        self._names = context.names
        self._registry = registry
        self._clocks: dict[Place, _Clock] = {}
        # None is kept for when Kafka is back, where it would come before what senders have kept.
        config = producer_config(context.settings) | {"delivery.timeout.ms": BEAT_MS, "enable.idempotence": False}
        self._beats = Producer(config)

    @property
    def subscription(self) -> str:
        return rf"^{re.escape(self._names.prefix)}\.raw\.[^.]+\.[^.]+$"

    @property
    def most_messages(self) -> int:
        return self._context.settings.slice_items

    def assigned(self, found: Assigned) -> int | None:
        """Raises LogLost when the committed position is gone, or is one of another topic of this name; UnknownRecord
        when it is not ingest that committed it."""
        place = found.place
        name = self._names.clock(place.topic, place.partition)
        _, source = self._names.source_of(place.topic)
        if found.committed is None:
            self._registry.read()
            if self._registry.topic_of_clock(name) is not None:
                raise LogLost(
                    f"the committed position of {name} is gone (group {self._names.group(WORKER)}), yet it was read "
                    "before: its offsets have expired or were deleted, or the topic was made anew. Nothing was "
                    "skipped. Restore the group's offsets, or replay into a new deployment (another "
                    "TOCSIN_KAFKA_PREFIX)"
                )
            turn = self._registry.first_turn(name)
            if turn is None:
                log.warning("clock_not_defined", clock=name, do="run `tocsin streams apply`")
                return None
            if found.low > 0:
                log.warning("items_gone_before_the_first_read", clock=name, positions=found.low)
            fold, position = IngestFold(turn, name), found.low
            trail = IdTrail(fold.definition.remember_ids)
        else:
            try:
                kept = decode_state(found.metadata)
            except UnknownRecord as error:
                raise UnknownRecord(f"{name}, group {self._names.group(WORKER)}: {error}") from None
            if kept.topic_id != found.topic_id:
                raise LogLost(
                    f"{place.topic} is not the topic that was read before: it was deleted and made anew. Nothing was "
                    f"read. Delete the group's offsets of {place.topic} and replay into a new deployment (another "
                    "TOCSIN_KAFKA_PREFIX), or restore the topic"
                )
            position = found.committed
            if not found.low <= position <= found.high:
                raise LogLost(
                    f"{name} was read up to {position}, and {place.topic} holds {found.low} to {found.high}: "
                    "what lies between was removed by retention, or the topic was cut. Nothing was skipped. Restore "
                    "the topic, or replay into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )
            fold = kept_fold(self._registry, name, kept)
            trail = IdTrail(fold.definition.remember_ids, kept.ids_from)
            self._remember(name, fold, trail)
        idleness = Idleness(fold.definition, busy_s=time.monotonic())
        known = found.committed is not None
        self._clocks[place] = _Clock(name, source, found.topic_id, fold, trail, known, idleness)
        log.debug("clock_taken", clock=name, position=position)
        return position

    def revoked(self, place: Place) -> None:
        clock = self._clocks.pop(place, None)
        if clock is not None:
            for gauge in (self._context.metrics.watermark, self._context.metrics.lag_seconds):
                with suppress(KeyError):  # whoever has it now tells where it is
                    gauge.remove(clock.name)

    def prepare(self, messages: Mapping[Place, Sequence[Message]]) -> Mapping[Place, Sequence[Message]]:
        return messages

    def finish(self, prepared: Mapping[Place, Sequence[Message]]) -> Done:
        done = Done()
        announced = self._registry.announced()
        for place, messages in prepared.items():
            clock = self._clocks[place]
            fold = clock.fold
            holds = partial(announced, fold.definition.name)
            before = msgspec.structs.replace(fold.counts)
            position = fold.position
            for portion in _portions(messages):
                records = wire.raw_records(portion, position=fold.position, source=clock.source, knows=holds)
                if any(record.kind == "items" for record in records):
                    clock.idleness.busy(time.monotonic())
                for slice in fold.apply(records):
                    self._write(done, clock, slice)
            if fold.position == position:
                continue
            if fold.definition is not clock.idleness.definition:
                clock.idleness = Idleness(fold.definition, busy_s=time.monotonic())
                clock.trail.keep(fold.definition.remember_ids)
            if not clock.known:
                entry = clock.topic_id.encode()
                done.outputs.append(Output(self._names.registry, 0, clock_key(clock.name), entry))
                clock.known = True
            metadata = encode_state(fold.to_bytes(), topic_id=clock.topic_id, ids_from=clock.trail.ids_from)
            done.commits[place] = (fold.position, metadata)
            self._count(clock, before)
        return done

    def at_end(self, place: Place) -> None:
        clock = self._clocks.get(place)
        if clock is not None:
            clock.at_end = True

    def idle(self) -> None:
        """Heartbeats: into each raw partition that has stood at its end for `idle_after`.

        After one that Kafka did not take, `idle_after` has to pass again: senders have waited too, and what they held
        back would be late.
        """
        now_s = time.monotonic()
        for place, clock in self._clocks.items():
            if clock.at_end and clock.idleness.due(now_s, 0) is not None:
                value, headers = wire.idle(clock.idleness.definition.idle_after_us)
                try:
                    self._beats.produce(
                        place.topic, value, partition=place.partition, headers=headers, on_delivery=_sent(clock)
                    )
                except (BufferError, KafkaException) as error:
                    log.debug("heartbeat_not_sent", clock=clock.name, error=str(error))
        self._beats.poll(0)

    def _write(self, done: Done, clock: _Clock, slice: SignalSlice) -> None:
        partition, key = self._names.signal_partition(clock.name), clock.name.encode()
        for letter in slice.dead:
            lost = LostItem(slice.stream, clock.name, letter)
            done.outputs.append(Output(self._names.dead, partition, key, encode(lost)))
        if slice.dead:
            slice = msgspec.structs.replace(slice, dead=[])
        ids, trail = sum(1 for signal in slice.signals if signal.id), clock.trail

        trail.expect(ids)

        def stored(offset: int) -> None:
            trail.add(offset, ids)

        done.outputs.append(Output(self._names.signals, partition, key, encode(slice), stored if ids else None))
        self._context.metrics.signals.inc(len(slice.signals))

    def _remember(self, name: str, fold: IngestFold, trail: IdTrail) -> None:
        """Rebuild the memory for ids from the slices that were committed up to the fold's position."""
        start = trail.ids_from
        if start < 0:
            return
        partition = self._names.signal_partition(name)
        for message in read_back(self._context.settings, self._names.signals, partition, start):
            if message.key() == name.encode():
                slice = decode(message.value() or b"", SignalSlice)
                ids = [signal.id for signal in slice.signals if signal.id]
                fold.remember(ids)
                trail.add(message.offset() or 0, len(ids))
                if slice.end >= fold.position:
                    break

    def _count(self, clock: _Clock, before: object) -> None:
        metrics, counts = self._context.metrics, clock.fold.counts
        for fate in ("counted", "late", "duplicates", "dead"):
            metrics.items.labels(clock.name, fate).inc(getattr(counts, fate) - getattr(before, fate))
        watermark_us = clock.fold.watermark_us
        if watermark_us is not None and watermark_us != LEFT_US:
            metrics.watermark.labels(clock.name).set(watermark_us / SECOND_US)
            metrics.lag_seconds.labels(clock.name).set((now_us() - watermark_us) / SECOND_US)


def _sent(clock: _Clock) -> Callable[[KafkaError | None, object], None]:
    """Called when Kafka has taken a heartbeat, or has not."""

    def told(error: KafkaError | None, message: object) -> None:
        if error is not None:
            clock.idleness.busy(time.monotonic())

    return told


def _portions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages, as many at a time as go into one slice."""
    first = size = 0
    for n, message in enumerate(messages):
        more = len(message.value() or b"")
        if n > first and size + more > MOST_SLICE_BYTES:
            yield messages[first:n]
            first, size = n, 0
        size += more
    yield messages[first:]


def run(context: Context) -> None:
    """Run until the context stops. Raises LogLost, ConfigurationError."""
    registry = Registry(context.settings)
    if not patiently(context, "kafka", registry.read):
        return
    run_transactions(context, WORKER, IngestStep(context, registry))
