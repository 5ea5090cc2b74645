"""The Faust app that reads tallies and verdicts and keeps the tables of buckets and judges."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.types import TP
from yarl import URL

from pipeline.kafka.client import CALL_S, MAX_MESSAGE_BYTES, SESSION_MS, connection
from pipeline.kafka.faust_driver import App, Consumer, Host, Transport, after
from pipeline.kafka.faust_rows import RowStore
from pipeline.kafka.names import Names
from pipeline.kafka.step import Place
from pipeline.settings import Settings

#: Seconds until an output that Kafka does not take is an error, and the app is started anew.
SEND_S = 60.0


class Taker(Host, Protocol):
    """A host that takes records."""

    async def take(self, place: Place, after: int, offset: int, value: bytes) -> None:
        """Fold a record. What it raises stops the process."""

    async def release(self) -> None:
        """The partitions are about to leave: save what there is."""


class FaustApp:
    """One life of the app, in the running event loop."""

    def __init__(self, settings: Settings, host: Taker, folder: Path) -> None:
        names = Names.of(settings)
        config = connection(settings)
        self._app = app = App(
            names.group("aggregate"),
            broker=[f"kafka://{server.strip()}" for server in config["bootstrap.servers"].split(",")],
            broker_credentials=_credentials(settings),
            broker_session_timeout=SESSION_MS / 1000,
            broker_heartbeat_interval=1.0,
            broker_request_timeout=3 * CALL_S,
            broker_commit_interval=1.0,
            # Our topics are sought explicitly; a position out of range is an error and never a jump.
            consumer_auto_offset_reset="none",
            consumer_max_fetch_size=MAX_MESSAGE_BYTES,
            producer_acks=-1,
            producer_max_request_size=MAX_MESSAGE_BYTES,
            producer_request_timeout=SEND_S,
            store="memory://",
            datadir=str(folder),
            topic_partitions=names.buckets,
            topic_allow_declare=False,  # `tocsin topics create` makes them
            topic_disable_leader=True,
            table_standby_replicas=1,
            web_enabled=False,
            # By this name the group's members tell each other apart.
            canonical_url=f"http://{uuid.uuid4().hex}",
            stream_wait_empty=False,
            stream_processing_timeout=1e9,
            broker_commit_livelock_soft_timeout=1e9,
            worker_redirect_stdouts=False,
        )
        app.host = host
        app.transport = Transport(app.conf.broker_consumer, app)
        self._stores = {name: self._table(name, names.buckets) for name in ("buckets", "judges")}
        for name, topic in (("tallies", names.tallies), ("verdicts", names.verdicts)):
            self._agent(name, topic, host)

        async def revoked(*_: Any, **__: Any) -> None:
            await host.release()

        self._revoked = revoked  # Faust keeps a weak reference
        app.on_partitions_revoked.connect(revoked)

    async def start(self) -> None:
        """Join the group and read the tables; returns when that is done."""
        await self._app.start()

    async def stop(self, seconds: float) -> None:
        """Leave the group; without a word where the broker does not answer in time."""
        stopping = asyncio.ensure_future(self._app.stop())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()
        self.consumer.cut()

    async def commit(self) -> None:
        """Commit what is committable."""
        await self._app.consumer.commit()

    @property
    def crash(self) -> BaseException | None:
        """What the app died of."""
        if not self._app.crashed:
            return None
        return self._app.crash_reason or RuntimeError("Faust crashed")

    @property
    def is_moving(self) -> bool:
        """Whether partitions are being given out."""
        return bool(self._app.rebalancing)

    def rewind(self, place: Place, position: int) -> None:
        """Read a partition again from `position`."""
        self.consumer.rewind(place, position)

    def fetched(self, place: Place) -> int | None:
        """The position of the reader; None while it changes."""
        return self.consumer.fetched(place)

    @property
    def consumer(self) -> Consumer:
        found = self._app.consumer
        assert isinstance(found, Consumer)
        return found

    def end(self, place: Place) -> int | None:
        """The end of a partition, as of the last fetch."""
        return self.consumer.highwater(TP(*place))

    def rows(self, table: str, partition: int) -> list[bytes]:
        return self._stores[table].rows(partition)

    async def send(self, topic: str, partition: int, key: bytes, value: bytes) -> asyncio.Future[object]:
        """Send a record; the future ends when Kafka has it."""
        sending: Awaitable[object] = await self._app.producer.send(topic, key, value, partition, None, None)
        return asyncio.ensure_future(sending)

    async def write(self, table: str, partition: int, key: bytes, value: bytes) -> None:
        """Write a row; returns when Kafka has it."""
        await self._app.tables[table].send_changelog(partition, key, value)
        self._stores[table].put(partition, key, value)

    def _table(self, name: str, partitions: int) -> RowStore:
        table = self._app.Table(
            name,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            recovery_buffer_size=50,
            standby_buffer_size=1,  # rows are large: none waits in a buffer
        )
        store = RowStore(URL("memory://"), self._app, table, table_name=name)
        vars(table)["_data"] = store
        return store

    def _agent(self, name: str, topic: str, host: Taker) -> None:
        async def read(stream: faust.StreamT[Any]) -> None:
            try:
                async for event in stream.events():
                    message = event.message
                    place = Place(message.topic, message.partition)
                    await host.take(place, after(message), message.offset, message.value or b"")
            except Exception as error:
                # Faust would log it, count the record as done and go on with the next.
                host.fail(error)
                await asyncio.Event().wait()

        read.__qualname__ = read.__name__ = name
        self._app.agent(self._app.topic(topic, value_serializer="raw", key_serializer="raw"), name=name)(read)


def _credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What `client.connection` says, in Faust's words."""
    context = None
    if settings.kafka_security in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=None if settings.kafka_ca is None else str(settings.kafka_ca))
    if settings.kafka_security.startswith("SASL"):
        assert settings.kafka_password is not None
        return faust.SASLCredentials(
            username=settings.kafka_user,
            password=settings.kafka_password.get_secret_value(),
            mechanism=settings.kafka_sasl,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
