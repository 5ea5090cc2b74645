"""The writer of raw topics: one thread, one transactional producer, many threads that wait for their answer.

What waits is written in one transaction, so a hundred small pushes at once cost one. While the broker is away, who
writes is told so at once; the thread asks until it is back, and makes a new producer where the old one is of no use.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.errors import ConfigurationError, JournalError, JournalUnavailable, JournalUncertain
from pipeline.kafka.client import EPOCH_OVER, producer_config, translated
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.health import Health
from pipeline.kafka.metrics import WorkerMetrics
from pipeline.kafka.raw_transaction import (
    CALL_S,
    WRITE_S,
    NotWritten,
    RawTransaction,
    RawWrite,
    Unresolved,
    Written,
)
from pipeline.kafka.step import Place
from pipeline.kafka.wire import Headers
from pipeline.settings import Settings

log = structlog.get_logger()

#: Seconds until the broker gives up the transaction of a writer that died in it.
TRANSACTION_S = 15
#: Seconds that `close` leaves to what is under way.
CLOSE_S = 3.0
#: Largest number of bytes and of messages that one transaction gathers; a larger write has one of its own.
MOST_BYTES = 32 * 2**20
MOST_MESSAGES = 100_000
_PAUSE_S = 0.5


class RawWriter:
    """Writes to raw topics. Safe for any number of threads; a context manager.

    Delivery: what `write` returned for is committed, and readers of committed records get to it. What it raised for is
    not in the log and never will be, but for JournalUncertain: the broker went away during the commit, which is carried
    on with for half a minute. Those readers see all messages of one write or none.
    Ordering: the messages of one write keep their order; others may lie between them. Writes of one thread keep theirs.
    Idempotence: none; each write is new.
    Raises: JournalUnavailable while the broker is away, JournalUncertain, JournalError where it refuses.
    """

    def __init__(self, settings: Settings, *, name: str, health: Health, metrics: WorkerMetrics | None = None) -> None:
        """`name` is that of the kind of writer. Raises ConfigurationError where no broker is configured."""
        self._config = producer_config(settings) | {
            "transactional.id": f"{settings.kafka_prefix}.{name}-{settings.worker or uuid.uuid4().hex}",
            "transaction.timeout.ms": TRANSACTION_S * 1000,
            "delivery.timeout.ms": round(WRITE_S * 1000),
            "queue.buffering.max.messages": 2_000_000,
            "linger.ms": 0,  # what belongs together is gathered here
            "log_level": 0,  # one line a change of state comes from `health`
            "error_cb": lambda error: None,
        }
        self._named = bool(settings.worker)
        self._cluster = Cluster(settings, call_s=CALL_S)
        self._health = health
        self._metrics = metrics or WorkerMetrics()
        self._changed = threading.Condition()
        self._queue: deque[RawWrite] = deque()
        self._trouble = ""
        self._partitions: dict[str, int] = {}
        self._closing = threading.Event()
        self._close_by_s = math.inf
        #: What stopped the writer for good.
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="raw-writer", daemon=True)

    def __enter__(self) -> RawWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is under way, within `CLOSE_S` or so; writes raise from then on."""
        with self._changed:
            self._close_by_s = time.monotonic() + CLOSE_S
            self._closing.set()
            self._changed.notify_all()
        self._thread.join(CLOSE_S + 1)

    def write(
        self, place: Place, messages: Sequence[tuple[bytes, Headers | None]], written: Written | None = None
    ) -> tuple[int, int]:
        """Write messages in one transaction; the offset of the first, and that after the last, once committed.

        `written` is called with both on the writer's own thread before that, and also when an uncertain commit turns
        out to have been one.
        """
        if not messages:
            raise ValueError("a write of no messages has no place")
        waiting = RawWrite(place, messages, written)
        with self._changed:
            if self._trouble or self._closing.is_set():
                raise JournalUnavailable(self._trouble or "this process stops")
            self._queue.append(waiting)
            self._changed.notify_all()
        if not waiting.done.wait(WRITE_S):
            with self._changed:
                if waiting in self._queue:
                    self._queue.remove(waiting)
                    raise JournalUnavailable(self._trouble or f"its turn did not come within {WRITE_S:.0f} s")
            waiting.done.wait()  # its transaction has begun, and ends by itself
        if isinstance(waiting.outcome, JournalError):
            raise waiting.outcome
        assert waiting.outcome is not None
        return waiting.outcome

    def partitions(self, topic: str, timeout_s: float = 0.0) -> int:
        """How many partitions a topic has; waits so long for the broker's first answer.

        Raises JournalUnavailable while none came, ConfigurationError where there is no such topic.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._partitions or self.error, timeout_s)
            if not self._partitions:
                raise JournalUnavailable(self._trouble or "Kafka has not answered yet")
            if topic not in self._partitions:
                raise ConfigurationError(f"there is no topic {topic}; run `tocsin topics create`")
            return self._partitions[topic]

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                producer = self._connect()
                if producer is not None:
                    self._serve(producer)
        except BaseException as error:
            self.error = error
            log.error("raw_writer_stopped", error=str(error))
        finally:
            self._refuse_all("this process stops" if self.error is None else f"the writer has stopped: {self.error}")

    def _connect(self) -> Producer | None:
        """A producer that may begin a transaction, however long that takes; None when it is time to stop.

        Its first act ends what a producer before it left open.
        """
        producer = Producer(self._config)
        while not self._closing.is_set():
            try:
                producer.init_transactions(CALL_S)
                self._look(producer)
                return producer
            except KafkaException as exception:
                error = exception.args[0]
                self._ill(error)
                if not error.retriable():
                    producer = Producer(self._config)
                self._closing.wait(_PAUSE_S)
        return None

    def _serve(self, producer: Producer) -> None:
        """Write what comes, until the producer is of no use any more or it is time to stop."""
        while True:
            batch = self._next()
            if not batch:
                if self._closing.is_set() or not self._ask(producer):
                    return
                continue
            batch = self._without_strays(producer, batch)
            if batch and not self._transact(producer, batch):
                return

    def _next(self) -> list[RawWrite]:
        """What waits, up to a transaction's worth; nothing when nothing came for a while."""
        with self._changed:
            if not self._queue and not self._closing.is_set():
                self._changed.wait(CALL_S)
            batch: list[RawWrite] = []
            count = size = 0
            while self._queue:
                first = self._queue[0]
                count, size = count + len(first.messages), size + first.size
                if batch and (first.alone or batch[0].alone or count > MOST_MESSAGES or size > MOST_BYTES):
                    break
                batch.append(self._queue.popleft())
            return batch

    def _ask(self, producer: Producer) -> bool:
        """Look whether the broker is there, until it is; False when it is time to stop."""
        while not self._closing.is_set():
            try:
                self._look(producer)
                return True
            except KafkaException as exception:
                self._ill(exception.args[0])
                self._closing.wait(_PAUSE_S)
        return False

    def _look(self, producer: Producer) -> None:
        """See which topics there are. Raises KafkaException."""
        there = producer.list_topics(timeout=CALL_S).topics
        self._partitions = {name: len(topic.partitions) for name, topic in there.items() if topic.error is None}
        self._well()

    def _without_strays(self, producer: Producer, batch: list[RawWrite]) -> list[RawWrite]:
        """The batch without what has no place: the client would look for it until all had waited too long."""
        if not all(self._has(write.place) for write in batch):
            with contextlib.suppress(KafkaException):
                self._look(producer)  # it may have been made since
        for write in batch:
            if not self._has(write.place):
                where = f"partition {write.place.partition} of the topic {write.place.topic}"
                write.answer(JournalError(f"there is no {where}; run `tocsin topics create`"))
        return [write for write in batch if self._has(write.place)]

    def _has(self, place: Place) -> bool:
        return 0 <= place.partition < self._partitions.get(place.topic, 0)

    def _transact(self, producer: Producer, batch: list[RawWrite]) -> bool:
        """Write a batch in one transaction and answer each; whether the producer may be used again."""
        try:
            producer.begin_transaction()
        except KafkaException as exception:  # a producer that broke down while it stood still
            self._ill(exception.args[0])
            self._put_back(batch)
            return False
        transaction = RawTransaction(producer, batch, self._cluster.stable_ends)
        transaction.close_by_s = lambda: self._close_by_s
        try:
            transaction.send()
            transaction.commit(self._ill)
        except NotWritten as refusal:
            self._give_up(batch, refusal)
            return False
        except Unresolved:
            return False
        except BaseException:  # a mistake of ours: nobody must wait for ever
            self._refuse(batch, JournalUncertain())
            raise
        self._metrics.transaction.observe(transaction.took_s)
        self._metrics.batch.observe(sum(len(write.messages) for write in batch))
        self._well()
        return True

    def _give_up(self, batch: list[RawWrite], refusal: NotWritten) -> None:
        """Answer what was not written. Its transaction ends when the next producer begins."""
        self._metrics.aborts.inc()
        error = refusal.error
        if refusal.passing or isinstance(error, str):
            self._ill(error)
            self._refuse(batch, JournalUnavailable(self._trouble))
        elif len(batch) == 1:
            self._refuse(batch, JournalError(str(translated(error, f"writing to {batch[0].place.topic}"))))
        else:  # one of them cannot be written: the others must not suffer for it
            for write in batch:
                write.alone = True
            self._put_back(batch)

    def _put_back(self, batch: list[RawWrite]) -> None:
        with self._changed:
            self._queue.extendleft(reversed(batch))

    def _refuse(self, batch: Sequence[RawWrite], error: JournalError) -> None:
        for write in batch:
            write.answer(error)

    def _refuse_all(self, why: str) -> None:
        with self._changed:
            self._trouble = why
            waiting, self._queue = list(self._queue), deque()
        self._refuse(waiting, JournalUnavailable(why))

    def _ill(self, error: KafkaError | str) -> None:
        """Who waits is told; who comes is told at once, until it is over."""
        said = error.str() if isinstance(error, KafkaError) else error
        if self._named and isinstance(error, KafkaError) and error.code() in EPOCH_OVER:
            said = f"another process writes as {self._config['transactional.id']}; give each its own TOCSIN_WORKER"
        self._health.trouble("kafka", said)
        self._refuse_all(f"Kafka does not answer ({said})")

    def _well(self) -> None:
        with self._changed:
            self._trouble = ""
            self._changed.notify_all()
        self._health.ok("kafka")
