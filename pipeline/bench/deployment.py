"""A deployment on this machine for benches: a broker, a Postgres, topics and definitions, made for the occasion."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Message

from alerts import schema
from alerts.keyring import new_key
from pipeline.clock import now_us
from pipeline.kafka.clock_states import clock_states
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.definitions import Definitions
from pipeline.kafka.ingest_state import KeptState
from pipeline.kafka.names import Names
from pipeline.kafka.read_ahead import watermarks_ahead
from pipeline.kafka.readback import read_back
from pipeline.kafka.registry import Registry
from pipeline.kafka.step import Place
from pipeline.kafka.topic_admin import TopicAdmin
from pipeline.kafka.wire import raw_records
from pipeline.records import RawRecord
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker
from pipeline.servers.postgres import LocalPostgres
from pipeline.servers.valkey import LocalValkey
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile, load, parse


@dataclass(frozen=True, kw_only=True)
class BenchDeployment:
    """Where everything is. `environment` is what a worker process is given."""

    folder: Path
    broker: LocalBroker
    postgres: LocalPostgres
    valkey: LocalValkey | None
    settings: Settings
    file: StreamFile
    environment: Mapping[str, str]

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def names(self) -> Names:
        return Names.of(self.settings)

    def clocks(self) -> dict[str, KeptState]:
        """Where ingest stands, by clock."""
        return clock_states(Cluster(self.settings), self.names)

    def apply(self, streams: str = "", ahead_ticks: int = 0) -> None:
        """Bring the stream file into force; or another text of one, from so many ticks on beyond the clock that is
        furthest. Raises BrokerUnavailable, ConfigurationError."""
        registry = Registry(self.settings)
        definitions = Definitions(self.settings, registry, self.clocks, now_us=now_us)
        file = parse(streams, "the streams of the bench") if streams else self.file
        for definition in file.streams.values():
            at_us = None
            if ahead_ticks:
                registry.read()
                clocks = self.names.defined(definition).clocks
                reached = watermarks_ahead(self.settings, registry, clocks, self.clocks())
                ticks = definition.ticks
                at_us = ticks.start_us(ticks.index(max(reached.values(), default=0)) + ahead_ticks)
            definitions.apply(definition, at_us)

    def raw_messages(self, topic: str, partition: int) -> Iterator[Message]:
        """Every message of a raw partition."""
        return read_back(self.settings, topic, partition, 0)

    def raw_log(self, clock: str) -> list[RawRecord]:
        """A raw partition as the folds see it."""
        topic, partition = self.names.raw_place(clock)
        _, source = self.names.source_of(topic)
        return raw_records(self.raw_messages(topic, partition), position=0, source=source)

    def unread(self, worker: str, topics: list[str]) -> int:
        """Records of these topics that are there to be read and that a group has not committed."""
        cluster = Cluster(self.settings)
        committed = cluster.committed(self.names.group(worker))
        unread = 0
        for topic, facts in cluster.topics(topics).items():
            for partition in range(facts.partitions):
                found = committed.get(Place(topic, partition))
                start = found.offset if found else 0
                unread += sum(1 for _ in read_back(self.settings, topic, partition, start))
        return unread


@contextmanager
def bench_deployment(streams: str, *, valkey: bool = False, **changes: object) -> Iterator[BenchDeployment]:
    """A deployment for a stream file given as text; `changes` are settings. With a Valkey of its own when
    `valkey` says so. Gone when the block ends.

    Raises ServerStartFailed where there is no Kafka or Java.
    """
    with ExitStack() as stack:
        home = KafkaHome.find()
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-", ignore_cleanup_errors=True))
        folder = Path(name)
        os.chmod(folder, 0o755)  # Postgres may run as another user
        (folder / "streams.toml").write_text(streams)
        broker = LocalBroker(
            folder / "kafka",
            home.libs,
            properties={"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"},
        )
        stack.enter_context(broker)
        postgres = LocalPostgres(folder / "postgres")
        url = stack.enter_context(postgres.running())
        schema.upgrade(url)
        cache = None
        if valkey:
            cache = LocalValkey(folder / "valkey")
            changes["redis_url"] = stack.enter_context(cache.running())
        given = {
            "kafka": broker.bootstrap,
            "kafka_prefix": f"bench-{uuid.uuid4().hex[:6]}",
            "database_url": url,
            "secret_key": new_key(),
            "streams": folder / "streams.toml",
            "data": folder / "data",
            "egress_allow": ["127.0.0.1"],
            "egress_http": True,
            **changes,
        }
        settings = Settings(**given)  # type: ignore[arg-type]
        file = load(settings.streams)
        TopicAdmin(settings, file.streams.values()).create()
        environment = {f"TOCSIN_{k.upper()}": v if isinstance(v, str) else _text(v) for k, v in given.items()}
        made = BenchDeployment(
            folder=folder,
            broker=broker,
            postgres=postgres,
            valkey=cache,
            settings=settings,
            file=file,
            environment=environment,
        )
        made.apply()
        yield made


def _text(value: object) -> str:
    if isinstance(value, list):
        return '["' + '","'.join(map(str, value)) + '"]'
    return str(value).lower() if isinstance(value, bool) else str(value)
