"""What Kafka itself says: of topics, of the bounds of their partitions, and of what groups have committed.

Every call asks the broker, and ends within `call_s`.
Raises: BrokerUnavailable; ConfigurationError where a topic is missing; TocsinError for what only an operator mends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from pipeline.errors import BrokerUnavailable
from pipeline.kafka.client import CALL_S, connection, passes, translated
from pipeline.kafka.step import Place
from pipeline.settings import Settings

#: A partition that is about to have a leader: its topic was made a moment ago, or a broker has gone.
_MOVING = frozenset((KafkaError._NOENT, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE))


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is: its id tells it from one that is made anew under its name."""

    id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offset of the first record that a partition holds, and the one after its last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group has committed for a partition."""

    offset: int
    metadata: str


class Cluster:
    """The cluster that the settings name."""

    def __init__(self, settings: Settings, *, call_s: float = CALL_S) -> None:
        # What it would log is in the one error that is raised.
        self._admin = AdminClient(connection(settings) | {"log_level": 0, "error_cb": self._remember})
        self._settings = settings
        self._server = settings.kafka
        self._prefix = f"{settings.kafka_prefix}."
        self._members: dict[str, Consumer] = {}
        self._lock = threading.Lock()
        self._call_s = call_s
        self._trouble = ""

    def id(self) -> str:
        """The cluster's id."""
        with self._errors("asking for the cluster's id"):
            return str(self._admin.describe_cluster(request_timeout=self._call_s).result().cluster_id)

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """Each of these topics."""
        facts = {}
        with self._errors("describing topics"):
            found = self._admin.describe_topics(TopicCollection(sorted(set(names))), request_timeout=self._call_s)
        for name, future in found.items():
            with self._errors(f"describing the topic {name}"):
                one = future.result()
                facts[name] = TopicFacts(str(one.topic_id), len(one.partitions))
        return facts

    def brokers(self) -> int:
        """How many brokers there are."""
        with self._errors("asking for the brokers"):
            return len(self._admin.describe_cluster(request_timeout=self._call_s).result().nodes)

    def names(self) -> set[str]:
        """The names of all topics."""
        with self._errors("listing topics"):
            return set(self._admin.list_topics(timeout=self._call_s).topics)

    def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        """The bounds of each of these partitions; transactions that are open or aborted are within them."""
        places = list(places)
        starts = self.starts(places)
        ends = self.ends(places)
        return {place: Bounds(start, ends[place]) for place, start in starts.items()}

    def starts(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """The first offset that each of these partitions still holds."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """The offset that each of these partitions gives out next."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def stable_ends(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """The offset up to which readers of committed records get each of these partitions: where the first
        transaction that is open begins, else its end."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offsets(places, latest, IsolationLevel.READ_COMMITTED)

    def committed(self, group: str) -> dict[Place, Committed]:
        """What a group of this deployment has committed; nothing for a group that is not there."""
        # Not by the admin client: asked for a group's offsets while its broker dies, librdkafka 2.16 ends the process.
        with self._errors("listing topics"):
            topics = self._admin.list_topics(timeout=self._call_s).topics
        ours = [
            TopicPartition(name, number)
            for name, topic in topics.items()
            if name.startswith(self._prefix)
            for number in topic.partitions
        ]
        committed = {}
        with self._errors(f"asking for the offsets of the group {group}"):
            for part in self._member(group).committed(ours, timeout=self._call_s) if ours else ():
                if part.error is not None:
                    raise translated(part.error, f"asking for the offset of {group} in {part.topic}/{part.partition}")
                if part.offset >= 0:
                    committed[Place(part.topic, part.partition)] = Committed(part.offset, part.metadata or "")
        return committed

    def _member(self, group: str) -> Consumer:
        """A client that may ask for a group's offsets; it never joins it."""
        with self._lock:
            if group not in self._members:
                config = connection(self._settings) | {"group.id": group, "enable.auto.commit": False, "log_level": 0}
                # As they are, also while a transaction is about to move them.
                self._members[group] = Consumer(config | {"isolation.level": "read_uncommitted"})
            return self._members[group]

    def answers(self, call_s: float) -> bool:
        """Whether the broker answers at all."""
        try:
            self._admin.list_topics(timeout=call_s)
        except KafkaException:
            return False
        return True

    def _offsets(
        self,
        places: Iterable[Place],
        wanted: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> Mapping[Place, int]:
        parts = [TopicPartition(*place) for place in places]
        if not parts:
            return {}
        deadline_s = time.monotonic() + self._call_s
        with self._errors("asking for the bounds of partitions"):
            while True:
                found = self._admin.list_offsets(
                    dict.fromkeys(parts, wanted), isolation_level=isolation, request_timeout=self._call_s
                )
                try:
                    return {Place(p.topic, p.partition): int(future.result().offset) for p, future in found.items()}
                except KafkaException as exception:
                    if exception.args[0].code() not in _MOVING or time.monotonic() > deadline_s:
                        raise
                    time.sleep(0.1)

    @contextmanager
    def _errors(self, tried: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as exception:
            error = exception.args[0]
            if not passes(error) and error.code() not in _MOVING:
                raise translated(error, tried) from exception
            self._admin.poll(0)  # to hear what the trouble was
            why = self._trouble if error.code() == KafkaError._TIMED_OUT and self._trouble else error.str()
            raise BrokerUnavailable(
                f"Kafka does not answer at {self._server} ({why}); start it, or set TOCSIN_KAFKA"
            ) from exception

    def _remember(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # which says less than what came before it
            self._trouble = error.str()
