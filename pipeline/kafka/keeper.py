"""The keeper of a Kafka deployment: the thread that does what is due by the time outside.

Alarms for stalled clocks, dead letters that are to be retried, retention. Every dispatcher has one, and one of them
acts at a time: the one that holds a lock in the database.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from confluent_kafka import KafkaError, Message, Producer
from sqlalchemy import Engine, Row

from alerts import dead_letters, retention
from alerts.pending_alarms import PendingAlarms
from alerts.retention import Retention
from alerts.routing import LIVE_RUN
from alerts.session_lock import SessionLock
from alerts.store import transaction
from pipeline.clock import now_us
from pipeline.instants import from_datetime
from pipeline.kafka.client import CALL_S, kafka_errors, producer_config
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.wire import item_headers
from pipeline.kafka.worker import Context
from pipeline.runtime.duty import Duties
from pipeline.runtime.stall_alarms import StallAlarms

log = structlog.get_logger()

_LOOK_EVERY_S = 2.0
_PRUNE_EVERY_S = 3600.0
# Seconds after which another keeper takes over from one that is frozen.
_FROZEN_S = 30
_ADVICE = "look at its source, and at whether `tocsin run ingest` works"


class KafkaKeeper(threading.Thread):
    """Does each of its duties on time, whatever happens to the others, while no other keeper does."""

    def __init__(self, context: Context, engine: Engine, cluster: Cluster) -> None:
        super().__init__(name="keeper", daemon=True)
        self._context = context
        self._engine = engine
        self._cluster = cluster
        self._names = names = context.names
        self._definitions = {name: names.defined(one) for name, one in context.file.streams.items()}
        self._clocks = [clock for definition in self._definitions.values() for clock in definition.clocks]
        self._lock = SessionLock(engine, f"keeper of {names.prefix}", frozen_s=_FROZEN_S)
        self._stop_asked = threading.Event()
        self._duties = Duties()
        self._not_retried: set[int] = set()
        self._pruned_s = time.monotonic()
        self._begin()

    def run(self) -> None:
        while not self._stop_asked.wait(_LOOK_EVERY_S):
            self._duties.do("lock", self._look_at_lock)
            if self._lock.held():
                self.look()
        self._lock.release()

    def stop(self, timeout_s: float) -> None:
        self._stop_asked.set()
        self.join(timeout_s)

    def look(self) -> None:
        """Do what is due."""
        self._duties.do("stalls", self._look_for_stalls)
        self._duties.do("alarms", self._alarms.store)
        self._duties.do("retries", self._retry_dead_letters)
        if time.monotonic() - self._pruned_s >= _PRUNE_EVERY_S:
            self._duties.do("retention", self._prune)
            self._pruned_s = time.monotonic()

    def _look_at_lock(self) -> None:
        if not self._lock.held() and self._lock.take():
            log.debug("keeper_acts")
            self._begin()

    def _begin(self) -> None:
        """Forget what was seen of clocks: another keeper has acted meanwhile."""
        self._stalls = StallAlarms(self._definitions, advice=_ADVICE)
        self._alarms = PendingAlarms(self._engine, stored=lambda: None)  # the store tells those that send

    def _look_for_stalls(self) -> None:
        states = clock_states(self._cluster, self._names)
        watermarks = {clock: states[clock].watermark_us if clock in states else None for clock in self._clocks}
        self._alarms.add(self._stalls.look(watermarks, now_us(), time.monotonic()))

    def _retry_dead_letters(self) -> None:
        """Append dead letters that someone asked to retry to their raw partition, as new items.

        Delivery: one that was appended twice, since a crash came before it was marked, has the same id both times,
        and is a duplicate the second time.
        """
        with transaction(self._engine) as connection:
            rows = dead_letters.to_retry(connection, LIVE_RUN, self._clocks)
        if not rows:
            return
        appended: list[Row[Any]] = []
        with kafka_errors("retrying dead letters"):
            producer = Producer(producer_config(self._context.settings) | {"log_level": 0})
            for row in rows:
                self._append(producer, row, appended)
            producer.flush(CALL_S)
        with transaction(self._engine) as connection:
            for row in appended:
                dead_letters.retried(connection, row, now_us())

    def _append(self, producer: Producer, row: Row[Any], appended: list[Row[Any]]) -> None:
        def done(error: KafkaError | None, message: Message) -> None:
            if error is None:
                appended.append(row)
            elif row.id not in self._not_retried:
                self._not_retried.add(row.id)
                log.warning("dead_letter_not_retried", id=row.id, error=error.str())

        topic, partition = self._names.raw_place(row.partition)
        asked_us = from_datetime(row.retry_requested_at)
        headers = item_headers(
            form=row.form,
            source=row.source,
            id=row.item_id or f"retry-{row.id}-{asked_us}",
            note=row.reason if row.form == "broken" else "",
        )
        producer.produce(topic, bytes(row.payload), partition=partition, headers=list(headers), on_delivery=done)

    def _prune(self) -> None:
        retention.apply(self._engine, Retention.of(self._context.settings), now_us())
