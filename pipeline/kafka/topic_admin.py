"""Making and looking at the topics of a deployment on a broker.

Idempotency: `create` makes what is missing and changes nothing that is there; it may run at any time, twice at once.
Raises: BrokerUnavailable, within about ten seconds, where no broker answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException

# All four are public; its list of exports lacks three.
from confluent_kafka.admin import (  # type: ignore[attr-defined, unused-ignore]
    AdminClient,
    ConfigResource,
    NewTopic,
    TopicMetadata,
)

from pipeline.errors import BrokerUnavailable
from pipeline.kafka.client import CALL_S, connection, kafka_errors
from pipeline.kafka.topics import Difference, Found, differences, wanted_topics
from pipeline.settings import Settings
from pipeline.streams import Definition


class TopicAdmin:
    """The topics of one deployment."""

    def __init__(self, settings: Settings, definitions: Iterable[Definition]) -> None:
        """Raises ConfigurationError where no broker is configured, or the topics cannot have their names."""
        self.topics = wanted_topics(settings, definitions)
        self._server = settings.kafka
        self._trouble = ""
        # What it would log is in the one error that is raised.
        self._admin = AdminClient(connection(settings) | {"log_level": 0, "error_cb": self._remember})

    def create(self) -> list[str]:
        """Make every topic that is missing, and wait until it can be used; the names of those made."""
        there = self._metadata()
        missing = [topic for topic in self.topics if topic.name not in there]
        if not missing:
            return []
        futures = self._admin.create_topics(
            [NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.config)) for topic in missing],
            operation_timeout=CALL_S,
            request_timeout=CALL_S,
        )
        made = [name for name, future in futures.items() if _was_made(name, future)]
        self._wait_for_leaders({topic.name for topic in missing})
        return made

    def check(self) -> dict[str, list[Difference]]:
        """Where each topic is not as it must be: an empty list where it is."""
        there = self._metadata()
        resources = [ConfigResource("topic", topic.name) for topic in self.topics if topic.name in there]
        found: dict[str, Found] = {}
        if resources:
            described = self._admin.describe_configs(resources, request_timeout=CALL_S)
            for resource, future in described.items():
                with kafka_errors(f"looking at the topic {resource.name}"):
                    config = {name: str(entry.value) for name, entry in future.result().items()}
                partitions = there[resource.name].partitions.values()
                replication = min(len(partition.replicas) for partition in partitions)
                found[resource.name] = Found(len(partitions), replication, config)
        return {topic.name: differences(topic, found.get(topic.name)) for topic in self.topics}

    def _metadata(self) -> dict[str, TopicMetadata]:
        """Every topic that the broker knows. Raises BrokerUnavailable."""
        try:
            topics = self._admin.list_topics(timeout=CALL_S).topics
        except KafkaException as error:
            self._admin.poll(0)  # to hear what the trouble was
            why = self._trouble or error.args[0].str()
            raise BrokerUnavailable(
                f"Kafka does not answer at {self._server} ({why}); start it, or set TOCSIN_KAFKA"
            ) from None
        return {name: topic for name, topic in topics.items() if topic.error is None}

    def _wait_for_leaders(self, names: set[str]) -> None:
        deadline = time.monotonic() + CALL_S
        while True:
            there = self._metadata()
            ready = {n for n in names & there.keys() if all(p.leader >= 0 for p in there[n].partitions.values())}
            if ready == names:
                return
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"the topic {min(names - ready)} was made and has no leader after {CALL_S:.0f} s; look at the "
                    "broker's log, then run `tocsin topics check`"
                )
            time.sleep(0.05)

    def _remember(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # which says less than what came before it
            self._trouble = error.str()


def _was_made(name: str, future: Future[None]) -> bool:
    """False when somebody else has just made it."""
    with kafka_errors(f"creating the topic {name}"):
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
    return True
