"""Clients: what confluent-kafka is told, from the settings; and its errors as ours.

Every consumer reads committed records only and never jumps: a missing or impossible position is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import BrokerUnavailable, ConfigurationError, LogLost, TocsinError
from pipeline.kafka.topics import MAX_MESSAGE_BYTES as MAX_MESSAGE_BYTES
from pipeline.settings import Settings

#: Seconds that one call to the broker may take.
CALL_S = 10.0
#: Milliseconds without a heartbeat after which a member is out of its group.
SESSION_MS = 6_000

#: Bytes of one partition that one fetch asks for.
FETCH_BYTES = 256 * 2**10

#: Errors of a broker that is away, starting, or moving its leaders: they pass.
_PASSING = frozenset(
    getattr(KafkaError, name)
    for name in (
        *("_ALL_BROKERS_DOWN", "_TRANSPORT", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_RESOLVE", "_WAIT_COORD"),
        "_DESTROY_BROKER",  # the client has just given up a connection that the question was on
        *("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "NETWORK_EXCEPTION"),
        *("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "BROKER_NOT_AVAILABLE", "REQUEST_TIMED_OUT"),
        *("UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH", "OFFSET_NOT_AVAILABLE", "REPLICA_NOT_AVAILABLE"),
        "_UNKNOWN_PARTITION",  # a broker that has just come back does not know them at once
        *("NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "CONCURRENT_TRANSACTIONS"),
    )
)

#: What a producer is told once its epoch is over: after another has begun under its id, or after its time was up.
EPOCH_OVER = frozenset((KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH))


def connection(settings: Settings) -> dict[str, Any]:
    """What every client is told. Raises ConfigurationError where no broker is configured."""
    if not settings.kafka:
        raise ConfigurationError("no Kafka is configured; set TOCSIN_KAFKA to its bootstrap servers, host:port")
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "security.protocol": settings.kafka_security,
        # It would write a line for each of its tries to connect, many a second while a broker is away; whoever uses the
        # client says what is wrong, once.
        "log_level": 0,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    if settings.kafka_security.startswith("SASL"):
        if settings.kafka_user is None or settings.kafka_password is None:
            raise ConfigurationError("SASL needs TOCSIN_KAFKA_USER and TOCSIN_KAFKA_PASSWORD")
        config |= {
            "sasl.mechanism": settings.kafka_sasl,
            "sasl.username": settings.kafka_user,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    if settings.kafka_ca is not None:
        config["ssl.ca.location"] = str(settings.kafka_ca)
    return config


def consumer_config(settings: Settings, group: str) -> dict[str, Any]:
    """A consumer that commits only what it is told to."""
    return connection(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": 1_000,
        "max.poll.interval.ms": 60_000,
        # Small, that a worker which is behind reads its partitions in turn: where one is read far ahead of another,
        # every tick between the two stays open. A record that is larger is read all the same.
        "fetch.message.max.bytes": FETCH_BYTES,
        "fetch.wait.max.ms": 50,
    }


def producer_config(settings: Settings) -> dict[str, Any]:
    """An idempotent producer: each record once and in order, or an error."""
    return connection(settings) | {
        "enable.idempotence": True,
        "compression.type": "zstd",
        "linger.ms": 2,
        # A transaction that follows closely on another is told to come again: after the default of 100 ms, nine in
        # ten of small ones take 27 ms, so 9 ms.
        "retry.backoff.ms": 5,
        "socket.nagle.disable": True,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "delivery.timeout.ms": 120_000,
    }


def passes(error: KafkaError) -> bool:
    """Whether an error is that of a broker that is away for a while."""
    return error.code() in _PASSING


def translated(error: KafkaError, what: str) -> TocsinError:
    """Our error for one of confluent-kafka's; `what` says what was tried."""
    code = error.code()
    if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return LogLost(
            f"{what}: the log does not hold the position to go on from ({error.str()}): retention has removed it, "
            "or the topic was made anew. Nothing was skipped. Restore the topic, or replay into a new deployment "
            "(another TOCSIN_KAFKA_PREFIX)"
        )
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return ConfigurationError(f"{what}: there is no such topic; run `tocsin topics create`")
    if passes(error):
        return BrokerUnavailable(f"{what}: Kafka does not answer ({error.str()})")
    return TocsinError(f"{what}: {error.str()}")


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """Raises our errors for those of confluent-kafka."""
    try:
        yield
    except KafkaException as exception:
        raise translated(exception.args[0], what) from exception
