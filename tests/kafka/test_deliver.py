"""From a surge in Kafka to a signed webhook, through two workers that share nothing but the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from deployed import Deployment, running, wait_until
from pydantic import SecretStr
from sqlalchemy import Engine, select

import alerts.worker
from alerts import dispatcher, subscriptions, tables
from alerts.keyring import Keyring, new_key
from alerts.receiver import Received, Receiver, Reply
from alerts.routing import Route
from alerts.store import transaction
from pipeline.clock import now_us
from pipeline.errors import ConfigurationError
from pipeline.kafka import deliver, dispatch
from pipeline.kafka.client import producer_config
from pipeline.records import Transition, encode
from pipeline.settings import Settings

MakeSurge = Callable[..., Transition]
KEY = SecretStr(new_key())


@pytest.fixture
def deployment(kafka_settings: Settings, database_url: str) -> Deployment:
    more = {
        "database_url": SecretStr(database_url),
        "secret_key": KEY,
        "egress_allow": ["127.0.0.0/8"],
        "egress_http": True,
    }
    return Deployment(kafka_settings.model_copy(update=more))


def subscribe(engine: Engine, receiver: Receiver) -> None:
    with transaction(engine) as connection:
        _, secret = subscriptions.add(
            connection, url=receiver.url(), wanted=Route(), keyring=Keyring(KEY), now_us=now_us()
        )
    receiver.secrets["/"] = secret


def test_a_surge_in_kafka_wakes_the_workers_that_deliver(
    deployment: Deployment, engine: Engine, surge: MakeSurge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts.worker, "POLL_S", 3600.0)  # nothing but a notice can wake them
    producer = Producer(producer_config(deployment.settings))
    dispatching, delivering = deployment.context("dispatch"), deployment.context("deliver")
    with Receiver() as receiver:
        subscribe(engine, receiver)
        with running(dispatch.run, dispatching), running(deliver.run, delivering):
            wait_until(lambda: dispatching.health.states().get("kafka") == "ok", "dispatch to be there")
            wait_until(lambda: delivering.health.states().get("postgres") == "ok", "deliver to be there")
            for sequence in range(1, 6):
                record = surge(sequence=sequence, state="opened" if sequence == 1 else "grew")
                producer.produce(deployment.names.surges, encode(record), partition=0)
                producer.flush(30)
                assert receiver.wait_for(sequence, 30)
            assert delivering.health.states() == {"postgres": "ok"}
        assert [got.verified for got in receiver.received] == [True] * 5
        assert len({got.webhook_id for got in receiver.received}) == 5


def test_a_worker_that_is_told_to_stop_does_not_wait_for_an_endpoint_for_ever(
    deployment: Deployment, engine: Engine, surge: MakeSurge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "DRAIN_S", 0.1)
    go_on = threading.Event()

    async def respond(_: Received) -> Reply:
        await asyncio.to_thread(go_on.wait)
        return Reply()

    with Receiver(respond=respond) as receiver:
        subscribe(engine, receiver)
        with transaction(engine) as connection:
            dispatcher.store(connection, [surge()], now_us())
        with running(deliver.run, deployment.context("deliver")) as context:
            assert receiver.wait_for(1)
            wait_until(lambda: context.metrics.outbox._value.get() == 1, "the depth of the outbox to be told")
        go_on.set()
    with transaction(engine) as connection:
        assert connection.scalar(select(tables.deliveries.c.state)) == "pending"


@pytest.mark.parametrize(
    ("missing", "told"), [("secret_key", "TOCSIN_SECRET_KEY"), ("database_url", "TOCSIN_DATABASE_URL")]
)
def test_what_all_workers_must_share_is_asked_for(kafka_settings: Settings, missing: str, told: str) -> None:
    given = {"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none"), "secret_key": KEY}
    settings = kafka_settings.model_copy(update=given | {missing: None})
    with pytest.raises(ConfigurationError, match=f"set {told}"):
        deliver.run(Deployment(settings).context("deliver"))


def test_deliver_needs_no_kafka_and_waits_for_postgres(kafka_settings: Settings) -> None:
    given = {"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none"), "secret_key": KEY}
    context = Deployment(kafka_settings.model_copy(update=given)).context("deliver")
    with running(deliver.run, context):
        wait_until(lambda: "Postgres does not answer" in context.health.states().get("postgres", ""), "the trouble")
