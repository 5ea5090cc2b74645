"""Read, process, write in transactions: the shell of ingest and of the scoring worker.

Delivery: what a step makes of some messages, and the position after them, are committed in one transaction, or not at
all; readers see committed records only. So each message is processed once, whoever is killed or frozen when.
Ordering: a partition's messages are processed in order, by one worker at a time. A frozen worker that wakes after
another has taken over is fenced by the group's generation (KIP-447), and its transaction aborts.
Crashes: after an abort every partition is read again from its committed position. What this process cannot mend (a
fatal error of the client, a broker that does not answer) tears the session down and begins a new one, for as long as
it takes. Raises LogLost and ConfigurationError, which nobody mends by waiting: two workers of one name among them,
since each would end the other's transactions for ever.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import structlog
from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from pipeline.errors import BrokerUnavailable, ConfigurationError, LogLost, TocsinError
from pipeline.kafka.client import (
    CALL_S,
    connection,
    consumer_config,
    kafka_errors,
    passes,
    translated,
)
from pipeline.kafka.step import Assigned, Done, Place, Step
from pipeline.kafka.transactional_writer import ATTEMPT_S, Aborted, Broken, Fenced, TransactionalWriter
from pipeline.kafka.worker import Context

log = structlog.get_logger()

#: Seconds that the committed position is waited for while another worker's transaction holds it.
COMMITTED_S = 50.0
#: Seconds that the consumer gets to leave its group.
LEAVE_S = 3.0
#: Seconds before a session that broke down is begun anew.
RESTART_S = 1.0
#: Seconds within which a worker that is fenced twice stops. Once may be an echo of its own: a broker that was frozen
#: answers late what it was asked, and may take an earlier session's beginning for the later one.
FENCED_TWICE_S = 120.0
#: Largest number of bytes that one transaction reads.
MOST_BYTES = 8 * 2**20
#: Seconds that a step may compute before the client is served in between, with its partitions paused.
PATIENCE_S = 1.0
_TICK_S = 0.25
_LOOK_S = 2.0
_LATER_S = 2.0

T = TypeVar("T")


def run_transactions(
    context: Context, worker: str, step: Step[T], *, spoil: Callable[[], bool] = lambda: False
) -> None:
    """Run a step until the context stops. `spoil` says before a commit whether to abort it, for tests of exactness."""
    fenced_s = -math.inf
    while not context.stop.is_set():
        try:
            session = _Session(context, worker, step, spoil)
        except BrokerUnavailable as error:
            context.health.trouble("kafka", str(error))
            context.stop.wait(RESTART_S)
            continue
        try:
            session.run()
        except (Broken, BrokerUnavailable) as error:
            why = str(error)
            if isinstance(error, Fenced) and context.settings.worker:
                why = (
                    f"another worker uses the name {context.settings.worker!r} ({why}); give each its own TOCSIN_WORKER"
                )
                log.warning("worker_name_taken", error=why)
                if time.monotonic() - fenced_s < FENCED_TWICE_S and not context.stop.is_set():
                    raise ConfigurationError(why) from error
                fenced_s = time.monotonic()
            context.health.trouble("kafka", why)
            context.stop.wait(RESTART_S)
        finally:
            session.close()


class _Session(Generic[T]):
    """One consumer and one transactional producer, until either breaks."""

    def __init__(self, context: Context, worker: str, step: Step[T], spoil: Callable[[], bool]) -> None:
        settings = context.settings
        self._context = context
        self._step = step
        group = context.names.group(worker)
        self._places: dict[Place, object] = {}  # each assignment has an identity of its own
        self._topic_ids: dict[str, str] = {}
        self._later: dict[Place, float] = {}  # asked again at that time
        self._batch: dict[Place, list[Message]] = {}
        self._count = self._bytes = 0
        self._paused = False
        self._trouble: BaseException | None = None
        self._looked_s = self._ticked_s = 0.0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=worker)
        errors = {"error_cb": self._on_error}
        name = settings.worker or uuid.uuid4().hex
        self._admin = AdminClient(connection(settings) | errors)
        self._consumer = Consumer(consumer_config(settings, group) | errors | {"enable.partition.eof": True})
        try:
            self._writer = TransactionalWriter(
                settings,
                f"{group}-{name}",
                context.health,
                more=errors,
                stopped=context.stop.is_set,
                spoil=spoil,
            )
            self._consumer.subscribe(
                [step.subscription], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Until told to stop: what was read is then finished and committed."""
        future: Future[Mapping[Place, T]] | None = None
        held: dict[Place, object] = {}
        while True:
            try:
                self._duties()
                if future is None:
                    if self._context.stop.is_set():
                        return
                    self._gather(0.1)
                    if self._batch:
                        messages, held = self._take()
                        future = self._executor.submit(self._step.prepare, messages)
                    continue
                began_s = time.monotonic()
                while not future.done():
                    concurrent.futures.wait([future], 0.01)
                    if self._room <= 0:
                        if time.monotonic() - began_s < PATIENCE_S:
                            continue
                        self._pause(True)  # the client must be served, and must not give more
                    self._gather(0.0)
                    self._duties()
                prepared, future = future.result(), None
                mine = {place: p for place, p in prepared.items() if self._places.get(place) is held.get(place)}
                if mine:
                    self._write(self._step.finish(mine))
            except Aborted:
                future = None
                self._context.metrics.aborts.inc()
                self._read_again()
            except KafkaException as exception:
                raise Broken(str(translated(exception.args[0], "reading"))) from exception

    def close(self) -> None:
        """Leave the group. Without a broker that may take a minute; then the group notices by itself."""
        leaving = threading.Thread(target=self._leave, name="leave", daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)
        for place in list(self._places):
            self._forget(place)
        # The next session computes with the same engine: never two at once.
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.debug("consumer_not_closed", error=str(error))

    # Reading

    def _gather(self, wait_s: float) -> None:
        """Read what is there, about up to a transaction's worth; wait at most so long for something to come."""
        first = self._consumer.poll(wait_s) if wait_s else None
        messages = [first] if first is not None else []
        messages += self._consumer.consume(max(1, self._room), 0)
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        for message in messages:
            error = message.error()
            place = Place(message.topic() or "", message.partition() or 0)
            if error is not None:
                self._on_message_error(error, place)
            elif place in self._places:
                self._batch.setdefault(place, []).append(message)
                self._count += 1
                self._bytes += len(message)
        if messages:
            self._context.health.ok("kafka")

    @property
    def _room(self) -> int:
        """How many messages more the next transaction takes."""
        return self._step.most_messages - self._count if self._bytes < MOST_BYTES else 0

    def _take(self) -> tuple[dict[Place, list[Message]], dict[Place, object]]:
        messages = {place: found for place, found in self._batch.items() if place in self._places}
        self._context.metrics.batch.observe(self._count)
        self._batch, self._count, self._bytes = {}, 0, 0
        self._pause(False)
        return messages, {place: self._places[place] for place in messages}

    def _pause(self, pause: bool) -> None:
        """Hold the partitions back while more is in memory than a transaction takes."""
        if pause != self._paused:
            parts = [TopicPartition(*place) for place in self._places if place not in self._later]
            (self._consumer.pause if pause else self._consumer.resume)(parts)
            self._paused = pause

    def _on_message_error(self, error: KafkaError, place: Place) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if place in self._places:
                self._step.at_end(place)
        elif passes(error):
            self._context.health.trouble("kafka", error.str())
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            raise Broken(error.str())
        else:
            raise translated(error, f"reading {place.topic}/{place.partition}")

    def _on_error(self, error: KafkaError) -> None:
        if passes(error):
            self._context.health.trouble("kafka", error.str())

    # Partitions come and go

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        try:
            self._assign([Place(part.topic, part.partition) for part in parts])
        except TocsinError as error:
            self._trouble = error
            consumer.incremental_assign([TopicPartition(p.topic, p.partition, OFFSET_END) for p in parts])
            consumer.pause([TopicPartition(p.topic, p.partition) for p in parts])

    def _on_revoke(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            self._forget(Place(part.topic, part.partition))
        consumer.incremental_unassign(parts)

    def _forget(self, place: Place) -> None:
        self._later.pop(place, None)
        if self._places.pop(place, None) is not None:
            self._step.revoked(place)
        dropped = self._batch.pop(place, [])
        self._count -= len(dropped)
        self._bytes -= sum(map(len, dropped))
        with contextlib.suppress(KeyError):  # whoever has it now tells how far behind it is
            self._context.metrics.lag_records.remove(place.topic, str(place.partition))

    def _assign(self, places: Sequence[Place]) -> None:
        """Begin to read partitions, each where it is to be read from."""
        positions = self._positions(places)
        self._consumer.incremental_assign(positions)
        # The client remembers over assignments which partitions are paused.
        waiting = [part for part in positions if Place(part.topic, part.partition) in self._later]
        held_back = positions if self._paused else waiting
        if held_back:
            self._consumer.pause(held_back)
        self._consumer.resume([part for part in positions if part not in held_back])

    def _positions(self, places: Sequence[Place]) -> list[TopicPartition]:
        """Take partitions over; where each is to be read from, the end for one that must wait."""
        positions = []
        for found in self._found(places):
            position = self._step.assigned(found)
            self._places[found.place] = object()
            if position is None:
                self._later[found.place] = time.monotonic() + _LATER_S
            positions.append(TopicPartition(*found.place, OFFSET_END if position is None else position))
        return positions

    def _found(self, places: Sequence[Place]) -> list[Assigned]:
        if not places:
            return []
        parts = [TopicPartition(*place) for place in places]
        deadline_s = time.monotonic() + COMMITTED_S
        while True:  # a transaction of a worker that died may hold the offsets for some seconds
            try:
                committed = self._consumer.committed(parts, ATTEMPT_S)
                break
            except KafkaException as exception:
                error = exception.args[0]
                if error.code() not in (KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError._TIMED_OUT):
                    raise translated(error, "asking for the committed positions") from exception
                if time.monotonic() > deadline_s or self._context.stop.is_set():
                    raise BrokerUnavailable(f"asking for the committed positions: {error.str()}") from exception
        for one in committed:
            if one.error is not None:
                raise translated(one.error, f"asking for the committed position of {one.topic}/{one.partition}")
        with kafka_errors("describing topics"):
            ids = self._topic_ids_now({place.topic for place in places})
            self._topic_ids |= ids
            found = []
            for one in committed:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(one.topic, one.partition), CALL_S)
                found.append(
                    Assigned(
                        place=Place(one.topic, one.partition),
                        topic_id=ids[one.topic],
                        committed=one.offset if one.offset >= 0 else None,
                        metadata=one.metadata or "",
                        low=low,
                        high=high,
                    )
                )
        return found

    def _topic_ids_now(self, topics: Iterable[str]) -> dict[str, str]:
        described = self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=CALL_S)
        return {name: str(future.result().topic_id) for name, future in described.items()}

    def _check_topics(self) -> None:
        """Raises LogLost where a topic was made anew while it was read: the client would go on in it, at the old
        offset, and say nothing."""
        for name, id in self._topic_ids_now({place.topic for place in self._places}).items():
            if id != self._topic_ids[name]:
                raise LogLost(
                    f"{name} was deleted and made anew while it was read: what it held is lost, and nothing of the new "
                    "one is read. Restore it, or replay into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )

    def _write(self, done: Done) -> None:
        """Raises Aborted, Broken."""
        began_s = time.monotonic()
        self._writer.write(done, self._consumer.consumer_group_metadata)
        self._context.health.ok("kafka")
        self._context.metrics.transaction.observe(time.monotonic() - began_s)

    def _read_again(self) -> None:
        """After an abort: every partition from its committed position."""
        places = [place for place in self._places if place not in self._later]
        self._batch, self._count, self._bytes = {}, 0, 0
        self._pause(False)
        for place in places:
            self._step.revoked(place)
        positions = self._positions(places)
        try:
            for part in positions:
                self._consumer.seek(part)
        except KafkaException as exception:  # the client has not begun with this partition yet
            raise Broken(exception.args[0].str()) from exception

    def _duties(self) -> None:
        now_s = time.monotonic()
        if now_s - self._ticked_s >= _TICK_S:
            self._ticked_s = now_s
            self._step.idle()
            due = [place for place, at_s in self._later.items() if at_s <= now_s]
            for place in due:
                del self._later[place]
                self._consumer.incremental_unassign([TopicPartition(*place)])
                self._assign([place])
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._look()

    def _look(self) -> None:
        """Tell how far behind it is, and whether the broker is back."""
        try:
            if self._context.health.states().get("kafka", "") != "ok":
                self._admin.list_topics(timeout=1.0)
                self._context.health.ok("kafka")
            if self._places:
                self._check_topics()
            positions = self._consumer.position([TopicPartition(*place) for place in self._places])
            for part in positions:
                _, high = self._consumer.get_watermark_offsets(part, cached=True)
                if part.offset >= 0 and high >= 0:
                    lag = self._context.metrics.lag_records.labels(part.topic, str(part.partition))
                    lag.set(max(0, high - part.offset))
        except KafkaException as error:
            log.debug("lag_not_known", error=str(error))
