"""`tocsin run dispatch`: what the judges say reaches Postgres, alerts and dead letters.

Delivery: each transition and each dead letter is stored once. What was read and how far is stored in one transaction,
and reading goes on from there, whoever was killed or frozen when.
Ordering: that of each partition.
Idempotence: a position moves only from where its reader began, so a dispatcher that was frozen and wakes after
another has taken over stores nothing.
Crashes: Postgres or Kafka that is away is waited for. Raises LogLost and UnknownRecord, which nobody mends by waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress

import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from sqlalchemy import Engine

from alerts import consumed, dead_letters, dispatcher
from alerts.consumed import Consumed, Move
from alerts.routing import LIVE_RUN
from alerts.store import transaction
from pipeline.clock import now_us
from pipeline.errors import BrokerUnavailable, StoreUnavailable
from pipeline.kafka.client import consumer_config, translated
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.database import RETRY_S, opened
from pipeline.kafka.decoding import decoded
from pipeline.kafka.keeper import KafkaKeeper
from pipeline.kafka.placement import Placement, check_topic
from pipeline.kafka.step import Place
from pipeline.kafka.worker import Context
from pipeline.records import LostItem, Transition

log = structlog.get_logger()

#: Most records that one transaction stores.
MOST_RECORDS = 500
#: Seconds that one question to Kafka may take: less than a worker that is told to stop has.
CALL_S = 3.0
#: Seconds that the consumer gets to leave its group, and the keeper to finish what it does.
LEAVE_S, STOP_S = 3.0, 2.0
# Seconds that reading waits at the longest, and between two looks at how far it is.
_WAIT_S, _LOOK_S = 0.1, 2.0
# What no waiting mends.
_STOPS = frozenset(
    (
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    )
)


def run(context: Context) -> None:
    """Store what is read until told to stop. Raises LogLost, UnknownRecord, ConfigurationError, StateMismatch."""
    cluster = Cluster(context.settings, call_s=CALL_S)
    with opened(context, pool_size=3) as engine:
        if engine is None or not _topics_are_there(context, cluster):
            return
        keeper = KafkaKeeper(context, engine, cluster)
        keeper.start()
        try:
            _Dispatcher(context, engine, cluster).run()
        finally:
            keeper.stop(STOP_S)


def _topics_are_there(context: Context, cluster: Cluster) -> bool:
    """Waits while Kafka is away; False when the worker was stopped before. Raises ConfigurationError."""
    while not context.stop.is_set():
        try:
            cluster.topics([context.names.surges, context.names.dead])
            return True
        except BrokerUnavailable as error:
            context.health.trouble("kafka", str(error))
            context.stop.wait(RETRY_S)
    return False


class _Displaced(Exception):
    """A position is not where this reader began: another reader was faster, or the database was set back."""


class _Dispatcher:
    """One reader of `surges` and `dead`."""

    def __init__(self, context: Context, engine: Engine, cluster: Cluster) -> None:
        self._context = context
        self._engine = engine
        self._cluster = cluster
        self._placement = Placement(engine, cluster, context.names.prefix)
        self._topics = [context.names.surges, context.names.dead]
        self._placed: dict[Place, Consumed] = {}  # where each partition is read on
        self._unplaced: set[Place] = set()  # paused until it is known where
        self._retry_s = self._looked_s = 0.0
        config = consumer_config(context.settings, context.names.group("dispatch")) | {"error_cb": self._on_error}
        self._consumer = Consumer(config)

    def run(self) -> None:
        """Until told to stop: what was read is then stored, and the group left."""
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
            while not self._context.stop.is_set():
                messages = self._read()
                if messages:
                    self._store(messages)
                if self._unplaced and time.monotonic() >= self._retry_s:
                    self._place()
                if time.monotonic() - self._looked_s >= _LOOK_S:
                    self._look()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Leave the group. Without a broker that may take a minute; then the group notices by itself."""
        leaving = threading.Thread(target=self._consumer.close, name="leave", daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)

    def _read(self) -> list[Message]:
        """What is there by now; waits a moment for something to come."""
        messages = []
        message = self._consumer.poll(_WAIT_S)
        while message is not None:
            error = message.error()
            if error is not None:
                self._on_message_error(error, message)
                break
            messages.append(message)
            message = self._consumer.poll(0) if len(messages) < MOST_RECORDS else None
        return messages

    def _store(self, messages: Iterable[Message]) -> None:
        """Store what was read and how far, in one transaction; the partitions are placed anew where that fails."""
        ends: dict[Place, int] = {}
        transitions, lost = [], []
        for message in messages:
            place = Place(message.topic() or "", message.partition() or 0)
            offset = message.offset() or 0
            if place not in self._placed or offset < self._placed[place].position:
                continue
            if place.topic == self._context.names.surges:
                transitions.append(decoded(place, offset, message.value(), Transition))
            else:
                lost.append(decoded(place, offset, message.value(), LostItem))
            ends[place] = offset + 1
        here = {place: self._placed[place] for place in ends}
        moves = [Move(place, at.topic_id, at.position, ends[place]) for place, at in here.items()]
        began_s = time.monotonic()
        try:
            with transaction(self._engine) as connection:
                if not consumed.move(connection, moves):
                    raise _Displaced
                stored = dispatcher.store(connection, transitions, now_us())
                dead_letters.store(connection, LIVE_RUN, lost)
        except _Displaced:
            log.info("dispatch_displaced", partitions=[f"{topic}/{number}" for topic, number in ends])
            for place in ends:
                self._context.metrics.rewinds.labels(place.topic, str(place.partition)).inc()
            self._unplace(ends)
        except StoreUnavailable as error:
            self._context.health.trouble("postgres", str(error))
            self._unplace(list(self._placed))
            self._retry_s = time.monotonic() + RETRY_S
        else:
            metrics = self._context.metrics
            metrics.transaction.observe(time.monotonic() - began_s)
            metrics.batch.observe(len(transitions) + len(lost))
            metrics.transitions.inc(stored)
            for place, at in here.items():
                self._placed[place] = Consumed(at.topic_id, ends[place])
            self._tell(ends)

    def _tell(self, ends: dict[Place, int]) -> None:
        """Commit to Kafka as well, for the tools that show how far groups are; nothing here reads it."""
        with suppress(KafkaException):
            self._consumer.commit(offsets=[TopicPartition(*place, end) for place, end in ends.items()])

    # Partitions come and go

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        consumer.incremental_assign([TopicPartition(part.topic, part.partition, OFFSET_END) for part in parts])
        consumer.pause(parts)
        self._unplaced |= {Place(part.topic, part.partition) for part in parts}
        self._retry_s = 0.0

    def _on_revoke(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        for part in parts:
            place = Place(part.topic, part.partition)
            self._unplaced.discard(place)
            self._placed.pop(place, None)
            with suppress(KeyError):
                self._context.metrics.lag_records.remove(place.topic, str(place.partition))
        consumer.incremental_unassign(parts)

    def _unplace(self, places: Iterable[Place]) -> None:
        """Read no further in these until it is known from where."""
        for place in places:
            self._placed.pop(place, None)
            self._unplaced.add(place)
        self._consumer.pause([TopicPartition(*place) for place in self._unplaced])
        self._retry_s = 0.0

    def _place(self) -> None:
        """Read on where the database says; later, when it or Kafka is away."""
        self._retry_s = time.monotonic() + RETRY_S
        places = sorted(self._unplaced)
        try:
            found = self._placement.of(places)
            for place, at in found.items():
                self._consumer.seek(TopicPartition(*place, at.position))
        except StoreUnavailable as error:
            self._context.health.trouble("postgres", str(error))
        except BrokerUnavailable as error:
            self._context.health.trouble("kafka", str(error))
        except KafkaException as exception:  # the client has not begun with this partition yet
            log.debug("not_placed", error=str(exception))
        else:
            self._placed |= found
            self._unplaced.difference_update(found)
            self._consumer.resume([TopicPartition(*place) for place in found])
            self._context.health.ok("postgres")
            self._context.health.ok("kafka")

    # What Kafka says

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        if error.fatal() or error.code() in _STOPS:
            raise translated(error, f"reading {message.topic()}/{message.partition()}")
        self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        """May be over by now, or concern one broker of several: look at once."""
        if self._context.stop.is_set():
            return  # what the consumer meets while it leaves helps nobody; without a broker it goes on for long
        log.debug("kafka_error", error=error.str())
        self._looked_s = 0.0

    def _look(self) -> None:
        """Tell how far behind it is and whether Kafka is there. Raises LogLost when a topic was made anew."""
        self._looked_s = time.monotonic()
        for place, at in self._placed.items():
            with suppress(KafkaException):
                _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                lag = self._context.metrics.lag_records.labels(place.topic, str(place.partition))
                lag.set(max(0, high - at.position))
        try:
            topics = self._cluster.topics(self._topics)
        except BrokerUnavailable as error:
            self._context.health.trouble("kafka", str(error))
            return
        # The client itself does not mind: it would go on in the new topic at the position of the old one.
        for place, at in self._placed.items():
            check_topic(place.topic, at, topics[place.topic].id)
        if not self._unplaced:
            self._context.health.ok("kafka")
