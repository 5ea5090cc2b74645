"""Surges and dead letters reach Postgres once, from where Postgres says, whoever is killed, frozen or away."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deployed import Deployment, running, wait_until
from pydantic import SecretStr
from sqlalchemy import Engine, func, select, text, update
from structlog.testing import capture_logs

from alerts import tables
from alerts.store import transaction
from pipeline.errors import ConfigurationError, LogLost, UnknownRecord
from pipeline.ingest.item import MAX_ITEM_BYTES, MAX_TEXT
from pipeline.instants import to_datetime
from pipeline.kafka import dispatch, ingest
from pipeline.kafka.client import producer_config
from pipeline.kafka.topics import MAX_RAW_BYTES
from pipeline.kafka.worker import Context
from pipeline.records import DeadLetter, Exemplar, LostItem, Transition, decode, encode
from pipeline.servers.kafka_broker import KafkaHome, LocalBroker
from pipeline.settings import Settings
from pipeline.tallies import EXEMPLAR_CHARACTERS, EXEMPLARS

MakeSurge = Callable[..., Transition]
CLOCK = "logs/push/0"


class Setting:
    """A deployment with a database; records are written to the topics that dispatch reads."""

    def __init__(self, deployment: Deployment, engine: Engine) -> None:
        self.deployment = deployment
        self.engine = engine
        self.names = deployment.names
        self.admin = AdminClient({"bootstrap.servers": str(deployment.settings.kafka), "log_level": 0})
        self._producer = Producer(producer_config(deployment.settings))

    def context(self) -> Context:
        return self.deployment.context("dispatch")

    @contextmanager
    def dispatching(self) -> Iterator[Context]:
        with running(dispatch.run, self.context()) as context:
            yield context

    def write(self, topic: str, *values: bytes, partition: int = 0) -> None:
        for value in values:
            self._producer.produce(topic, value, partition=partition)
        assert self._producer.flush(30) == 0

    def surges(self, *records: Transition, partition: int = 0) -> None:
        self.write(self.names.surges, *map(encode, records), partition=partition)

    def make_anew(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in self.admin.list_topics(timeout=10).topics, "the topic to be gone")
        Deployment(self.deployment.settings)

    def subscribe(self, id: str = "all") -> None:
        with transaction(self.engine) as connection:
            connection.execute(
                tables.subscriptions.insert().values(
                    id=id,
                    url="https://hooks.example/",
                    states=["opened", "grew", "resolved"],
                    secret=b"",
                    created_at=to_datetime(0),
                )
            )

    def stored(self) -> list[tuple[str, int]]:
        with transaction(self.engine) as connection:
            rows = connection.execute(select(tables.transitions.c.alert_id, tables.transitions.c.sequence))
            return sorted((row.alert_id, row.sequence) for row in rows)

    def position(self, topic: str, partition: int = 0) -> int:
        c = tables.consumed.c
        with transaction(self.engine) as connection:
            return connection.scalar(select(c.position).where(c.topic == topic, c.partition == partition)) or 0

    def read_to(self, topic: str, end: int, partition: int = 0) -> Callable[[], bool]:
        return lambda: self.position(topic, partition) == end

    def count(self, table: Any) -> int:
        with transaction(self.engine) as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def setting(kafka_settings: Settings, database_url: str, engine: Engine) -> Setting:
    settings = kafka_settings.model_copy(update={"database_url": SecretStr(database_url)})
    return Setting(Deployment(settings), engine)


def test_transitions_become_alerts_with_one_delivery_for_each_who_wants_it(setting: Setting, surge: MakeSurge) -> None:
    setting.subscribe()
    with setting.dispatching() as context:
        setting.surges(surge(), surge(sequence=2, state="grew"), surge())
        setting.surges(surge(id="b" * 32), partition=1)
        wait_until(lambda: len(setting.stored()) == 3, "three transitions")
        wait_until(setting.read_to(setting.names.surges, 3), "the position")
        assert setting.stored() == [("a" * 32, 1), ("a" * 32, 2), ("b" * 32, 1)]
        assert setting.count(tables.deliveries) == 3
        assert context.health.states() == {"postgres": "ok", "kafka": "ok"}
        wait_until(lambda: setting.deployment.covered("dispatch", setting.names.surges, 0) == 3, "Kafka's own offset")


def test_reading_goes_on_from_the_position_in_postgres_whatever_the_group_has_committed(
    setting: Setting, surge: MakeSurge
) -> None:
    """A crash between the two commits leaves Kafka's offset behind; expired offsets are none at all."""
    with setting.dispatching():
        setting.surges(*(surge(sequence=n) for n in range(1, 6)))
        wait_until(setting.read_to(setting.names.surges, 5), "five transitions")
    group = setting.names.group("dispatch")
    with transaction(setting.engine) as connection:  # to see whether they are stored again
        connection.execute(tables.transitions.delete())
    for offset in (1, 4_000):
        place = TopicPartition(setting.names.surges, 0, offset)
        setting.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])])[group].result()
        with setting.dispatching():
            setting.surges(surge(sequence=offset))
            wait_until(lambda offset=offset: ("a" * 32, offset) in setting.stored(), "the next one")
    setting.admin.delete_consumer_groups([group])[group].result()
    with setting.dispatching():
        setting.surges(surge(sequence=8))
        wait_until(lambda: ("a" * 32, 8) in setting.stored(), "the last one")
    assert setting.stored() == [("a" * 32, 1), ("a" * 32, 8), ("a" * 32, 4_000)]


def test_a_reader_whose_position_another_has_moved_on_stores_nothing_and_goes_on_from_there(
    setting: Setting, surge: MakeSurge
) -> None:
    """What a dispatcher meets that was frozen while another took over."""
    with setting.dispatching():
        setting.surges(surge())
        wait_until(setting.read_to(setting.names.surges, 1), "the first one")
        with transaction(setting.engine) as connection:
            connection.execute(
                update(tables.consumed).where(tables.consumed.c.topic == setting.names.surges).values(position=3)
            )
        setting.surges(surge(sequence=2), surge(sequence=3), surge(sequence=4))
        wait_until(setting.read_to(setting.names.surges, 4), "the fourth one")
    assert setting.stored() == [("a" * 32, 1), ("a" * 32, 4)]


def test_a_database_that_was_set_back_gets_again_what_it_lost(setting: Setting, surge: MakeSurge) -> None:
    with setting.dispatching():
        setting.surges(surge(), surge(sequence=2))
        wait_until(setting.read_to(setting.names.surges, 2), "two transitions")
        with transaction(setting.engine) as connection:  # as an older backup has it
            connection.execute(tables.transitions.delete().where(tables.transitions.c.sequence == 2))
            connection.execute(
                update(tables.consumed).where(tables.consumed.c.topic == setting.names.surges).values(position=1)
            )
        setting.surges(surge(sequence=3))
        wait_until(setting.read_to(setting.names.surges, 3), "all three")
    assert setting.stored() == [("a" * 32, 1), ("a" * 32, 2), ("a" * 32, 3)]


def test_a_topic_made_anew_stops_the_worker_with_what_to_do(setting: Setting, surge: MakeSurge) -> None:
    surges = setting.names.surges
    with setting.dispatching():
        setting.surges(surge())
        wait_until(setting.read_to(surges, 1), "the first one")
    setting.make_anew(surges)
    setting.surges(surge(sequence=2), surge(sequence=3))
    with pytest.raises(LogLost, match=f"made anew.*DELETE FROM consumed WHERE topic = '{surges}'"):
        dispatch.run(setting.context())
    assert setting.stored() == [("a" * 32, 1)]
    with transaction(setting.engine) as connection:
        connection.execute(text(f"DELETE FROM consumed WHERE topic = '{surges}'"))
    with setting.dispatching():
        wait_until(setting.read_to(surges, 2), "what the new topic holds")
    assert setting.stored() == [("a" * 32, 1), ("a" * 32, 2), ("a" * 32, 3)]


def test_a_topic_made_anew_while_it_is_read_stops_the_worker(setting: Setting, surge: MakeSurge) -> None:
    surges = setting.names.surges
    with pytest.raises(LogLost, match="made anew"), setting.dispatching():  # noqa: PT012
        setting.surges(surge())
        wait_until(setting.read_to(surges, 1), "the first one")
        setting.make_anew(surges)
        setting.surges(surge(sequence=2), surge(sequence=3), surge(sequence=4))
        wait_until(lambda: not any(t.name == dispatch.__name__ for t in threading.enumerate()), "the worker to stop")
    with transaction(setting.engine) as connection:
        connection.execute(text(f"DELETE FROM consumed WHERE topic = '{surges}'"))
    with setting.dispatching():
        wait_until(setting.read_to(surges, 3), "what the new topic holds")
    assert setting.stored() == [("a" * 32, n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("before", [True, False], ids=["never read", "read before"])
def test_a_position_before_the_logs_start_stops_the_worker(setting: Setting, surge: MakeSurge, before: bool) -> None:
    surges = setting.names.surges
    if not before:
        with setting.dispatching():
            setting.surges(surge())
            wait_until(setting.read_to(surges, 1), "the first one")
        setting.surges(surge(sequence=2))
    else:
        setting.surges(surge(), surge(sequence=2))
    setting.surges(surge(sequence=3))
    place = TopicPartition(surges, 0, 2)
    setting.admin.delete_records([place])[place].result()
    with pytest.raises(LogLost, match=r"the log begins at 2, .* UPDATE consumed SET position = 2 WHERE"):
        dispatch.run(setting.context())
    with transaction(setting.engine) as connection:
        connection.execute(text(f"UPDATE consumed SET position = 2 WHERE topic = '{surges}' AND partition = 0"))
    with setting.dispatching():
        wait_until(setting.read_to(surges, 3), "what is left")
    assert ("a" * 32, 3) in setting.stored()
    assert ("a" * 32, 2) not in setting.stored()


def test_a_position_beyond_the_logs_end_stops_the_worker(setting: Setting, surge: MakeSurge) -> None:
    with setting.dispatching():
        setting.surges(surge())
        wait_until(setting.read_to(setting.names.surges, 1), "the first one")
    with transaction(setting.engine) as connection:
        connection.execute(
            update(tables.consumed).where(tables.consumed.c.topic == setting.names.surges).values(position=7)
        )
    with pytest.raises(LogLost, match="the log ends at 1, and was stored up to 7"):
        dispatch.run(setting.context())


def test_a_record_of_an_unknown_version_stops_the_worker_and_names_its_place(
    setting: Setting, surge: MakeSurge
) -> None:
    setting.surges(surge())
    setting.write(setting.names.surges, b"\x09from the future")
    with pytest.raises(UnknownRecord, match=rf"{setting.names.surges}/0 at 1: .* format 9"):
        dispatch.run(setting.context())
    assert setting.position(setting.names.surges) <= 1


def test_topics_that_are_missing_are_told_at_once(setting: Setting) -> None:
    settings = setting.deployment.settings.model_copy(update={"kafka_prefix": "nobody"})
    context = setting.context()
    with pytest.raises(ConfigurationError, match="tocsin topics create"):
        dispatch.run(Context(settings=settings, file=context.file, health=context.health))


def test_a_database_of_another_deployment_is_refused(setting: Setting, surge: MakeSurge) -> None:
    with transaction(setting.engine) as connection:
        connection.execute(tables.runs.insert().values(run="live", folder="Qm9zdG9uIHdhcyBoZXJl"))
    setting.surges(surge())
    with pytest.raises(ConfigurationError, match=r"folder\.id begins with Qm9zdG9u; the Kafka runtime needs one"):
        dispatch.run(setting.context())
    with transaction(setting.engine) as connection:
        connection.execute(update(tables.runs).values(folder="kafka:there:theirs"))
    with pytest.raises(ConfigurationError, match="prefix theirs on the cluster there; this is"):
        dispatch.run(setting.context())
    assert setting.stored() == []


def test_hostile_text_is_stored_and_stops_nothing(setting: Setting, surge: MakeSurge) -> None:
    text = "nul \x00 \x1b[2J \u202e high \U0010ffff"
    exemplars = [Exemplar(-1, text, 0, text, text, text)]
    setting.subscribe()
    letter = DeadLetter(7, 1_700_000_000_000_000, "line", text, b"\x00\xff\xfe not UTF-8", text, text)
    with setting.dispatching():
        setting.surges(surge(group=text, exemplars=exemplars, sources={text: 1}))
        setting.write(setting.names.dead, encode(LostItem("logs", CLOCK, letter)), partition=1)
        wait_until(setting.read_to(setting.names.surges, 1), "the surge")
        wait_until(setting.read_to(setting.names.dead, 1, 1), "the dead letter")
    assert setting.count(tables.deliveries) == 1
    with transaction(setting.engine) as connection:
        stored = connection.execute(select(tables.transitions)).one()
        assert decode(bytes(stored.encoded), Transition).group == text
        dead = connection.execute(select(tables.dead_letters)).one()
    assert (dead.partition, dead.position, bytes(dead.payload)) == (CLOCK, 7, letter.payload)
    assert dead.reason == text.replace("\x00", "\ufffd")


def test_the_largest_that_may_come_is_stored_whole(setting: Setting, surge: MakeSurge) -> None:
    """A raw record that just fits its topic, an item that is just not too long, and a surge with all its evidence."""
    deployment, raw = setting.deployment, setting.names.raw_place(CLOCK)
    deployment.apply()
    headed = json.dumps(
        {"time": "2024-05-06T00:00:00Z", "text": "\U0001f525" * MAX_TEXT, "more": ""}, ensure_ascii=False
    )
    item = headed.encode()[:-2] + _noise(MAX_ITEM_BYTES - len(headed.encode())) + b'"}'
    broken = b"\xff" + _noise(MAX_RAW_BYTES - 1_000)
    deployment.send(CLOCK, [item, broken], [("source", b"s")])
    with running(ingest.run, deployment.context("ingest")):
        wait_until(lambda: deployment.covered("ingest", *raw) == 2, "ingest")
    [one] = [signal for slice in deployment.slices(setting.names.signals) for signal in slice.signals]
    assert len(item) == MAX_ITEM_BYTES
    assert one.text == "\U0001f525" * MAX_TEXT

    text = "\U0001f525" * EXEMPLAR_CHARACTERS
    evidence = [Exemplar(-n, f"x{n}", 0, text, text, text) for n in range(EXEMPLARS)]
    sources = {f"{n}{text}": n for n in range(2_000)}
    opened = surge(exemplars=evidence, sources=sources)
    assert len(encode(opened)) > 2 * 2**20
    partition = setting.names.signal_partition(CLOCK)
    with setting.dispatching():
        setting.surges(opened)
        wait_until(setting.read_to(setting.names.surges, 1), "the surge")
        wait_until(lambda: setting.position(setting.names.dead, partition) > 0, "the dead letter")
    with transaction(setting.engine) as connection:
        stored = connection.execute(select(tables.transitions)).one()
        assert decode(bytes(stored.encoded), Transition) == opened
        assert bytes(connection.execute(select(tables.dead_letters)).one().payload) == broken


def _noise(size: int) -> bytes:
    """Letters that cannot be compressed to less than three quarters."""
    return base64.b64encode(random.Random(0).randbytes(size))[:size]


def test_a_postgres_that_is_away_is_waited_for(setting: Setting, surge: MakeSurge, postgres_server: str) -> None:
    name = setting.engine.url.database
    with setting.dispatching() as context:
        setting.surges(surge())
        wait_until(setting.read_to(setting.names.surges, 1), "the first one")
        administer(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        administer(postgres_server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        setting.surges(surge(sequence=2), surge(sequence=3))
        wait_until(lambda: context.health.states()["postgres"] != "ok", "the trouble to be told")
        administer(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        wait_until(setting.read_to(setting.names.surges, 3), "the others")
        wait_until(lambda: set(context.health.states().values()) == {"ok"}, "all to be well")
    assert setting.stored() == [("a" * 32, n) for n in (1, 2, 3)]


def test_a_broker_that_is_away_is_waited_for(
    kafka_home: KafkaHome, tmp_path: Path, database_url: str, engine: Engine, surge: MakeSurge
) -> None:
    settings = Settings(
        kafka_prefix="away", kafka_signal_partitions=2, buckets=2, database_url=SecretStr(database_url), kafka="none:1"
    )
    with LocalBroker(tmp_path / "broker", kafka_home.libs) as broker, capture_logs() as logs:
        setting = Setting(Deployment(settings.model_copy(update={"kafka": broker.bootstrap})), engine)
        with setting.dispatching() as context:
            setting.surges(surge())
            wait_until(setting.read_to(setting.names.surges, 1), "the first one")
            broker.kill()
            wait_until(lambda: context.health.states()["kafka"] != "ok", "the trouble to be told")
            broker.start()
            setting.surges(surge(sequence=2))
            wait_until(setting.read_to(setting.names.surges, 2), "the second one")
            wait_until(lambda: set(context.health.states().values()) == {"ok"}, "all to be well")
            broker.kill()
            wait_until(lambda: context.health.states()["kafka"] != "ok", "the trouble to be told again")
            context.stop.set()
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 20  # it stops without a broker as well
    changes = [entry["event"] for entry in logs if entry.get("dependency") == "kafka"]
    assert changes == ["dependency_unavailable", "dependency_available", "dependency_unavailable"]
    assert setting.stored() == [("a" * 32, 1), ("a" * 32, 2)]


def test_dispatchers_that_are_killed_and_frozen_store_each_transition_once(setting: Setting, surge: MakeSurge) -> None:
    """SIGKILL at any instant, and SIGSTOP beyond the session timeout while the other takes over."""
    setting.subscribe()
    written = 0

    def some_more(count: int = 40) -> None:
        nonlocal written
        for _ in range(count):
            setting.surges(surge(id=f"{written:032d}"), partition=written % 2)
            written += 1

    first = spawn(setting.deployment.settings)
    second = spawn(setting.deployment.settings)
    try:
        for _ in range(2):
            some_more()
            wait_until(lambda: len(setting.stored()) > written - 20, "some transitions")
            first.kill()
            first.wait()
            first = spawn(setting.deployment.settings)
        second.send_signal(signal.SIGSTOP)
        some_more()
        wait_until(lambda: len(setting.stored()) == written, "the other to take over")
        second.send_signal(signal.SIGCONT)
        some_more()
        wait_until(lambda: len(setting.stored()) == written, "all transitions")
        wait_until(
            lambda: setting.position(setting.names.surges) + setting.position(setting.names.surges, 1) == written,
            "both positions",
        )
        for process in (first, second):
            process.terminate()
        assert [process.wait(10) for process in (first, second)] == [0, 0]
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    assert setting.stored() == [(f"{n:032d}", 1) for n in range(written)]
    assert setting.count(tables.deliveries) == written


def spawn(settings: Settings) -> subprocess.Popen[bytes]:
    assert settings.database_url is not None
    environment = {
        **os.environ,
        "TOCSIN_KAFKA": str(settings.kafka),
        "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
        "TOCSIN_KAFKA_SIGNAL_PARTITIONS": str(settings.kafka_signal_partitions),
        "TOCSIN_BUCKETS": str(settings.buckets),
        "TOCSIN_DATABASE_URL": settings.database_url.get_secret_value(),
    }
    return subprocess.Popen([sys.executable, "-m", "pipeline.cli", "run", "dispatch"], env=environment)


def administer(server: str, statement: str) -> None:
    connection = psycopg2.connect(server)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()
