"""The writing half of a transaction: records, positions, and a commit, or nothing.

Delivery: `write` returns when all of it is committed. Raises `Aborted` when the transaction was given up, `Broken` when
this producer cannot tell or cannot go on; whoever reads the committed positions afterwards knows what holds. `Fenced`
is a `Broken` whose reason is another producer under the same id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from pipeline.kafka.client import CALL_S, EPOCH_OVER, kafka_errors, producer_config
from pipeline.kafka.health import Health
from pipeline.kafka.step import Done, Output
from pipeline.settings import Settings

log = structlog.get_logger()

#: Seconds until the broker gives up the transaction of a worker that died in it.
TRANSACTION_S = 10
#: Seconds after which a transaction is over, whatever the client says: it may answer "try again" for ever.
GIVE_UP_S = TRANSACTION_S + 10.0
#: Seconds that one call waits for the broker before it is made again.
ATTEMPT_S = 3.0


class Aborted(Exception):
    """The transaction was given up; partitions must be read again from their committed positions."""


class Broken(Exception):
    """The clients cannot be used any more; a new session is needed."""


class Fenced(Broken):
    """Another producer has begun to write under this one's id."""


class TransactionalWriter:
    """One transactional producer."""

    def __init__(
        self,
        settings: Settings,
        id: str,
        health: Health,
        *,
        more: dict[str, Any],
        stopped: Callable[[], bool],
        spoil: Callable[[], bool],
    ) -> None:
        """Fences whoever wrote under this id before. `more` are settings of the client; `spoil` says before a commit
        whether to abort it. Raises BrokerUnavailable."""
        self._id = id
        self._health = health
        self._stopped = stopped
        self._spoil = spoil
        self._began_s = 0.0
        with kafka_errors(f"beginning to write as {id}"):
            self._producer = Producer(
                producer_config(settings)
                | {
                    "transactional.id": id,
                    "transaction.timeout.ms": TRANSACTION_S * 1000,
                    "delivery.timeout.ms": TRANSACTION_S * 1000,
                }
                | more
            )
            self._producer.init_transactions(CALL_S)

    def write(self, done: Done, member: Callable[[], Any]) -> None:
        """Write and commit; `member` is the group's metadata as of now, which fences a worker that is out of it.

        On a thread of its own, since the client may stay within a call for ever after it has lost its broker. What it
        is at by then cannot be committed any more: the broker has given it up.
        """
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self._write(done, member)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="transaction", daemon=True)
        thread.start()
        left_s = GIVE_UP_S + ATTEMPT_S
        while thread.is_alive() and left_s > 0:
            began_s = time.monotonic()
            thread.join(min(left_s, 0.5))
            left_s -= time.monotonic() - began_s
            if self._stopped():
                left_s = min(left_s, ATTEMPT_S)  # who is told to stop has ten seconds for everything
        if thread.is_alive():
            # It may still find its broker again: what it holds must not come after the end of its transaction.
            self._producer.purge(blocking=False)
            raise Broken("Kafka's client does not come back from a transaction")
        if failed:
            raise failed[0]

    def _write(self, done: Done, member: Callable[[], Any]) -> None:
        self._began_s = time.monotonic()
        offsets = [
            TopicPartition(place.topic, place.partition, position, metadata)
            for place, (position, metadata) in done.commits.items()
        ]
        try:
            self._producer.begin_transaction()
            for output in done.outputs:
                self._produce(output)
            # Not called again when it has failed, although it says that it may be: it would not come back.
            self._producer.send_offsets_to_transaction(offsets, member(), CALL_S)
            if self._spoil():
                self._producer.flush(CALL_S)
                self._abort()
            self._call(lambda: self._producer.commit_transaction(ATTEMPT_S))
        except KafkaException as exception:
            error = exception.args[0]
            log.info("transaction_aborted", error=error.str(), code=error.name())
            if error.fatal() or self._is_over():
                raise self._broken(error) from exception
            self._abort()

    def _produce(self, output: Output) -> None:
        extra: dict[str, Any] = {}
        if output.stored is not None:
            stored = output.stored
            extra["on_delivery"] = lambda error, message: None if error else stored(message.offset())
        while True:
            try:
                self._producer.produce(output.topic, output.value, output.key, partition=output.partition, **extra)
                return
            except BufferError as error:  # its queue is full: let it send
                if self._is_over():
                    raise Broken("Kafka takes nothing") from error
                self._producer.poll(0.05)

    def _call(self, call: Callable[[], Any]) -> None:
        """Repeat a call while the broker does not answer in time, as long as the transaction lasts."""
        while True:
            try:
                call()
                return
            except KafkaException as exception:
                error = exception.args[0]
                if not error.retriable() or error.txn_requires_abort() or self._stopped() or self._is_over():
                    raise
                self._health.trouble("kafka", error.str())

    def _is_over(self) -> bool:
        return time.monotonic() > self._began_s + GIVE_UP_S

    def _broken(self, error: KafkaError) -> Broken:
        """The broker also ends the epoch of a transaction that takes too long, as that of a frozen process does. Before
        that time it can only have been another producer."""
        if error.code() in EPOCH_OVER and time.monotonic() - self._began_s < TRANSACTION_S:
            return Fenced(f"it has begun to write under the transactional id {self._id}")
        return Broken(error.str())

    def _abort(self) -> None:
        """Give the transaction up. Raises Aborted, or Broken when not even that works."""
        try:
            self._call(lambda: self._producer.abort_transaction(ATTEMPT_S))
        except KafkaException as exception:
            raise self._broken(exception.args[0]) from exception
        raise Aborted
