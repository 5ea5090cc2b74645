"""Deliveries are attempted until acknowledged, exhausted or cancelled, always with the same webhook-id."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg2
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, select, text, update
from structlog.testing import capture_logs

import alerts.worker
from alerts import deliveries, dispatcher, endpoints, outbox, subscriptions
from alerts.egress import Allowed
from alerts.keyring import Keyring, new_key
from alerts.outbox import Attempt
from alerts.receiver import Received, Receiver, Reply
from alerts.retry import WAITS_S, Decision
from alerts.routing import Route
from alerts.sample import send_sample
from alerts.store import transaction
from alerts.tables import alerts as alert_table
from alerts.tables import deliveries as delivery_table
from alerts.tables import subscriptions as subscription_table
from alerts.webhook import parse_secret
from alerts.worker import DeliveryWorker
from pipeline.clock import now_us
from pipeline.errors import NotFound, UsageError
from pipeline.instants import HOUR_US, SECOND_US, from_datetime, to_datetime
from pipeline.records import Transition

MakeSurge = Callable[..., Transition]
LOOPBACK = Allowed.parse(["127.0.0.0/8"])


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring(SecretStr(new_key()))


class Clock:
    """The wall clock, moved ahead by the test instead of waiting."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


def eventually(holds: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@contextmanager
def running(worker: DeliveryWorker, *, kill: bool = False) -> Iterator[None]:
    """The worker in a thread of its own; `kill` ends it without letting it finish or record anything."""
    ready = threading.Event()
    handles: list[Any] = []
    failures: list[BaseException] = []

    async def main() -> None:
        stop = asyncio.Event()
        task = asyncio.current_task()
        handles.extend((asyncio.get_running_loop(), stop, task))
        ready.set()
        try:
            await worker.run(stop)
        except asyncio.CancelledError:
            assert kill
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        loop, stop, task = handles
        try:
            loop.call_soon_threadsafe(task.cancel if kill else stop.set)
        except RuntimeError:
            pass  # it has ended by itself, and `failures` says why
        thread.join()
    assert failures == []


def subscribe(engine: Engine, receiver: Receiver, keyring: Keyring, path: str = "/", **wanted: Any) -> str:
    with transaction(engine) as connection:
        made, secret = subscriptions.add(
            connection, url=receiver.url(path), wanted=Route(**wanted), keyring=keyring, now_us=now_us()
        )
    receiver.secrets[path] = secret
    return made.id


def store(engine: Engine, *records: Transition) -> None:
    with transaction(engine) as connection:
        dispatcher.store(connection, records, now_us())


def row(engine: Engine, **where: Any) -> Any:
    wanted = select(delivery_table)
    for name, value in where.items():
        wanted = wanted.where(delivery_table.c[name] == value)
    with transaction(engine) as connection:
        return connection.execute(wanted).one()


def states(engine: Engine) -> list[str]:
    with transaction(engine) as connection:
        return sorted(connection.scalars(select(delivery_table.c.state)))


def attempts(engine: Engine, delivery: str) -> list[deliveries.PastAttempt]:
    with transaction(engine) as connection:
        return deliveries.attempts_of(connection, delivery)


def always(*replies: Reply) -> Callable[[Received], Any]:
    """Answers with these in turn, with the last one for ever."""
    left = list(replies)

    async def respond(_: Received) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return respond


def test_a_surge_reaches_its_receiver_signed_and_once(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscription = subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: states(engine) == ["delivered"])
    (got,) = receiver.received
    assert got.verified is True
    assert got.webhook_id == dispatcher.delivery_id(subscription, surge().id, 1)
    body = msgspec.json.decode(got.body)
    assert (body["type"], body["version"], body["data"]["group"]) == ("surge.opened", 1, "topic:finance")
    (made,) = attempts(engine, got.webhook_id)
    assert (made.number, made.status, made.error) == (1, 204, "")


def test_wake_sends_at_once(
    engine: Engine, keyring: Keyring, surge: MakeSurge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts.worker, "POLL_S", 3600.0)
    worker = DeliveryWorker(engine, keyring, LOOPBACK)
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
        with running(worker):
            for sequence in (1, 2):
                store(engine, surge(sequence=sequence))
                worker.wake()
                assert receiver.wait_for(sequence)
                eventually(lambda: "pending" not in states(engine))


def test_a_failed_attempt_is_repeated_with_the_same_id_and_body(
    engine: Engine, keyring: Keyring, surge: MakeSurge, clock: Clock
) -> None:
    worker = DeliveryWorker(engine, keyring, LOOPBACK, clock=clock, draw=lambda: 0.0)
    with Receiver(respond=always(Reply(500, b"no"), Reply(200, b"yes"))) as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(worker):
            eventually(lambda: row(engine).attempts == 1)
            waiting = row(engine)
            assert waiting.state == "pending"
            first = attempts(engine, waiting.id)[0]
            wait_us = from_datetime(waiting.due_at) - from_datetime(first.at)
            assert 5 * SECOND_US <= wait_us - first.duration_ms * 1000 < 5.1 * SECOND_US
            clock.ahead_us += 6 * SECOND_US
            worker.wake()
            eventually(lambda: states(engine) == ["delivered"])
    one, two = receiver.received
    assert one.webhook_id == two.webhook_id
    assert one.body == two.body
    assert two.verified
    assert [(a.number, a.status, a.response) for a in attempts(engine, one.webhook_id)] == [
        (1, 500, b"no"),
        (2, 200, b"yes"),
    ]


def test_after_the_whole_schedule_a_delivery_is_exhausted(
    engine: Engine, keyring: Keyring, surge: MakeSurge, clock: Clock
) -> None:
    with Receiver(respond=always(Reply(503))) as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        for number in range(1, len(WAITS_S) + 2):
            worker = DeliveryWorker(engine, keyring, LOOPBACK, clock=clock)
            with running(worker):
                eventually(lambda number=number: row(engine).attempts == number)
            clock.ahead_us = from_datetime(row(engine).due_at) - now_us() + SECOND_US
        assert row(engine).state == "exhausted"
        assert len(receiver.received) == len(WAITS_S) + 1


def test_retry_after_is_honoured(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver(respond=always(Reply(429, headers={"Retry-After": "120"}))) as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: row(engine).attempts == 1)
        assert from_datetime(row(engine).due_at) >= now_us() + 115 * SECOND_US


def test_a_redirect_is_a_failure_and_never_followed(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as elsewhere:
        moved = Reply(307, headers={"Location": elsewhere.url()})
        with Receiver(respond=always(moved)) as receiver:
            subscribe(engine, receiver, keyring)
            store(engine, surge())
            with running(DeliveryWorker(engine, keyring, LOOPBACK)):
                eventually(lambda: row(engine).attempts == 1)
            assert row(engine).state == "pending"
    assert elsewhere.received == []


def test_a_410_disables_the_endpoint_and_its_owner_is_told(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    async def respond(got: Received) -> Reply:
        return Reply(410) if got.path == "/gone" else Reply()

    with Receiver(respond=respond) as receiver:
        gone = subscribe(engine, receiver, keyring, "/gone", group="topic:*")
        subscribe(engine, receiver, keyring, "/owner", group="system:*")
        store(engine, surge(), surge(id="b"), surge(id="c"))
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: any(got.path == "/owner" for got in receiver.received))
            eventually(lambda: "pending" not in states(engine))
        with transaction(engine) as connection:
            shown = subscriptions.get(connection, gone)
            assert not shown.enabled
            assert shown.disabled_reason == "it answered 410 Gone"
        told = [msgspec.json.decode(got.body) for got in receiver.received if got.path == "/owner"]
        assert [(body["type"], body["data"]["subject"]) for body in told] == [("system.opened", gone)]
        assert set(states(engine)) <= {"cancelled", "exhausted", "delivered"}
        with transaction(engine) as connection:
            endpoints.enable(connection, gone, now_us())
            assert connection.scalar(select(alert_table.c.state).where(alert_table.c.kind == "system")) == "resolved"


@pytest.mark.parametrize(("failing_us", "disabled"), [(119 * HOUR_US, False), (121 * HOUR_US, True)])
def test_an_endpoint_that_only_failed_for_120_hours_is_disabled(
    engine: Engine, keyring: Keyring, surge: MakeSurge, failing_us: int, disabled: bool
) -> None:
    with Receiver(respond=always(Reply(500))) as receiver:
        subscribe(engine, receiver, keyring)
        with transaction(engine) as connection:
            connection.execute(update(subscription_table).values(first_failure_at=to_datetime(now_us() - failing_us)))
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: row(engine, alert_id=surge().id).attempts == 1)
        with transaction(engine) as connection:
            (shown,) = subscriptions.list_all(connection)
            assert shown.enabled is not disabled
            assert len(connection.execute(select(alert_table).where(alert_table.c.kind == "system")).all()) == disabled


def test_a_success_ends_the_count_of_failing_hours(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
        with transaction(engine) as connection:
            connection.execute(update(subscription_table).values(first_failure_at=to_datetime(0)))
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: states(engine) == ["delivered"])
        with transaction(engine) as connection:
            (shown,) = subscriptions.list_all(connection)
    assert shown.enabled
    assert shown.first_failure_at is None


def test_endpoints_that_hang_do_not_delay_the_others(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    async def respond(got: Received) -> Reply:
        if got.path.startswith("/hang"):
            await asyncio.sleep(3600)
        return Reply()

    with Receiver(respond=respond) as receiver:
        for number in range(10):
            subscribe(engine, receiver, keyring, f"/hang{number}")
        healthy = subscribe(engine, receiver, keyring, "/healthy")
        store(engine, *(surge(id=f"{number:032d}") for number in range(100)))
        with running(DeliveryWorker(engine, keyring, LOOPBACK, timeout_s=30.0), kill=True):
            with_healthy = [dispatcher.delivery_id(healthy, f"{number:032d}", 1) for number in range(100)]
            eventually(lambda: {got.webhook_id for got in receiver.received} >= set(with_healthy), timeout_s=8.0)
        hanging = [got for got in receiver.received if got.path.startswith("/hang")]
        assert len(hanging) <= 10 * 2, "each hanging endpoint holds its first window at most"


def test_a_crash_between_sending_and_recording_means_one_more_attempt_with_the_same_id(
    engine: Engine, keyring: Keyring, surge: MakeSurge, clock: Clock
) -> None:
    hold = threading.Event()

    async def respond(_: Received) -> Reply:
        await asyncio.to_thread(hold.wait)
        return Reply()

    with Receiver(respond=respond) as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK), kill=True):
            assert receiver.wait_for(1)
        hold.set()
        assert row(engine).attempts == 0
        with running(DeliveryWorker(engine, keyring, LOOPBACK, clock=clock)):
            clock.ahead_us += outbox.LEASE_US + SECOND_US
            eventually(lambda: states(engine) == ["delivered"])
    one, two = receiver.received
    assert one.webhook_id == two.webhook_id


def test_a_worker_that_stops_records_what_is_under_way(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    async def respond(_: Received) -> Reply:
        await asyncio.sleep(0.3)
        return Reply()

    with Receiver(respond=respond) as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            assert receiver.wait_for(1)
        assert states(engine) == ["delivered"]


def test_workers_that_share_an_outbox_send_each_delivery_once(
    engine: Engine, keyring: Keyring, surge: MakeSurge
) -> None:
    with Receiver() as receiver:
        for number in range(4):
            subscribe(engine, receiver, keyring, f"/{number}")
        store(engine, *(surge(id=f"{number:032d}") for number in range(50)))
        first = DeliveryWorker(engine, keyring, LOOPBACK)
        second = DeliveryWorker(engine, keyring, LOOPBACK)
        with running(first), running(second):
            eventually(lambda: set(states(engine)) == {"delivered"})
        assert len(receiver.received) == 200
        assert len({got.webhook_id for got in receiver.received}) == 200
        assert all(got.verified for got in receiver.received)


def test_attempts_made_while_postgres_is_away_are_recorded_when_it_is_back(
    engine: Engine, keyring: Keyring, surge: MakeSurge, postgres_server: str
) -> None:
    go_on = threading.Event()

    async def respond(_: Received) -> Reply:
        await asyncio.to_thread(go_on.wait)
        return Reply()

    name = engine.url.database
    with Receiver(respond=respond) as receiver, capture_logs() as logs:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            assert receiver.wait_for(1)
            administer(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            administer(
                postgres_server,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
            go_on.set()
            eventually(lambda: any(entry["event"] == "deliveries_store_unavailable" for entry in logs))
            administer(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            eventually(lambda: any(entry["event"] == "deliveries_store_back" for entry in logs))
            eventually(lambda: states(engine) == ["delivered"])
        assert len(receiver.received) == 1
    assert [entry["event"] for entry in logs] == ["deliveries_store_unavailable", "deliveries_store_back"]


def administer(server: str, statement: str) -> None:
    connection = psycopg2.connect(server)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def test_a_loopback_endpoint_is_refused_unless_allowed(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, Allowed())):
            eventually(lambda: row(engine).attempts == 1)
    assert receiver.received == []
    (made,) = attempts(engine, row(engine).id)
    assert made.status is None
    assert "egress_allow" in made.error


def test_a_secret_that_cannot_be_decrypted_concerns_its_endpoint_alone(
    engine: Engine, keyring: Keyring, surge: MakeSurge
) -> None:
    with Receiver() as receiver:
        broken = subscribe(engine, receiver, Keyring(SecretStr(new_key())), "/broken")
        fine = subscribe(engine, receiver, keyring, "/fine")
        store(engine, surge())
        with running(DeliveryWorker(engine, keyring, LOOPBACK)):
            eventually(lambda: row(engine, subscription_id=fine).state == "delivered")
            eventually(lambda: row(engine, subscription_id=broken).attempts == 1)
        (made,) = attempts(engine, row(engine, subscription_id=broken).id)
    assert "secret_key" in made.error


def test_a_rotated_secret_and_the_old_one_both_verify_for_a_day(
    engine: Engine, keyring: Keyring, surge: MakeSurge, clock: Clock
) -> None:
    with Receiver() as receiver:
        subscription = subscribe(engine, receiver, keyring)
        old = receiver.secrets["/"]
        with transaction(engine) as connection:
            new = subscriptions.rotate(connection, subscription, keyring=keyring, now_us=now_us())
        for sequence, secret in enumerate((old, new), start=1):
            receiver.secrets["/"] = secret
            store(engine, surge(sequence=sequence))
            with running(DeliveryWorker(engine, keyring, LOOPBACK)):
                eventually(lambda sequence=sequence: row(engine, sequence=sequence).state == "delivered")
        with transaction(engine) as connection:
            later = subscriptions.keys(connection, subscription, keyring, now_us() + 25 * HOUR_US)
    assert later == [parse_secret(new)]
    assert all(got.verified for got in receiver.received)


def test_a_sample_is_sent_at_once_and_signed(engine: Engine, keyring: Keyring) -> None:
    with Receiver() as receiver:
        subscription = subscribe(engine, receiver, keyring)
        with transaction(engine) as connection:
            keys = subscriptions.keys(connection, subscription, keyring, now_us())
        answer = asyncio.run(
            send_sample(subscription=subscription, url=receiver.url(), keys=keys, allowed=LOOPBACK, now_us=now_us())
        )
    assert answer.status == 204
    (got,) = receiver.received
    assert got.verified
    assert msgspec.json.decode(got.body)["type"] == "test"


def claimed(connection: Connection, worker: str, at_us: int) -> list[str]:
    found = outbox.claim(connection, worker=worker, now_us=at_us, room=100, window=2, free={})
    return [delivery.id for delivery in found]


def attempt(delivery: str, at_us: int, decision: Decision) -> Attempt:
    return Attempt(
        delivery=delivery,
        subscription="",
        at_us=at_us,
        status=None,
        duration_ms=3,
        response=b"",
        error="",
        decision=decision,
    )


def test_an_endpoint_gives_its_window_and_all_endpoints_come_in_turn(
    engine: Engine, keyring: Keyring, surge: MakeSurge
) -> None:
    with Receiver() as receiver:
        many = subscribe(engine, receiver, keyring, "/many")
        store(engine, *(surge(id=f"{number:032d}") for number in range(20)))
        few = subscribe(engine, receiver, keyring, "/few")
        store(engine, surge(id="later"))
    with transaction(engine) as connection:
        now = now_us()
        found = outbox.claim(connection, worker="w", now_us=now, room=4, window=8, free={})
        assert [delivery.subscription for delivery in found].count(few) == 1
        assert [delivery.subscription for delivery in found].count(many) == 3
        again = outbox.claim(connection, worker="w", now_us=now, room=100, window=8, free={many: 5})
        assert [delivery.subscription for delivery in again] == [many] * 5
        assert outbox.claim(connection, worker="w", now_us=now, room=100, window=8, free={many: 0}) == []


def test_what_is_queued_to_a_disabled_endpoint_is_not_sent(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
    store(engine, surge())
    with transaction(engine) as connection:
        # Disabled by another at the moment in which the surge was stored: its delivery was not cancelled.
        connection.execute(update(subscription_table).values(enabled=False))
        assert claimed(connection, "w", now_us()) == []


def test_recording_the_same_attempt_again_changes_nothing(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
    store(engine, surge())
    now = now_us()
    with transaction(engine) as connection:
        (delivery,) = claimed(connection, "w", now)
        made = attempt(delivery, now, Decision("pending", 5.0))
        assert outbox.record(connection, [made], worker="w") == [made]
    with transaction(engine) as connection:
        assert outbox.record(connection, [made], worker="w") == []
    assert row(engine).attempts == 1
    assert len(attempts(engine, delivery)) == 1


def test_a_worker_that_lost_its_lease_changes_a_delivery_only_by_success(
    engine: Engine, keyring: Keyring, surge: MakeSurge
) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
    store(engine, surge())
    now = now_us()
    later = now + outbox.LEASE_US + SECOND_US
    with transaction(engine) as connection:
        (delivery,) = claimed(connection, "stopped", now)
        assert claimed(connection, "other", now) == []
        assert claimed(connection, "other", later) == [delivery]
        outbox.record(connection, [attempt(delivery, now, Decision("exhausted"))], worker="stopped")
    held = row(engine)
    assert (held.state, held.lease_by, held.attempts) == ("pending", "other", 1)
    with transaction(engine) as connection:
        outbox.record(connection, [attempt(delivery, now + 1, Decision("delivered"))], worker="stopped")
        outbox.record(connection, [attempt(delivery, later, Decision("pending", 5.0))], worker="other")
    done = row(engine)
    assert (done.state, done.lease_by, done.attempts) == ("delivered", None, 3)
    assert [made.number for made in attempts(engine, delivery)] == [1, 2, 3]


def test_a_claim_whose_answer_was_lost_is_given_back(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscribe(engine, receiver, keyring)
    store(engine, surge(), surge(id="b"))
    now = now_us()
    with transaction(engine) as connection:
        one, two = claimed(connection, "w", now)
        outbox.release(connection, worker="w", held=[one])
        assert claimed(connection, "w", now) == [two]


def test_resend_and_recover_queue_again_with_the_same_id(engine: Engine, keyring: Keyring, surge: MakeSurge) -> None:
    with Receiver() as receiver:
        subscription = subscribe(engine, receiver, keyring)
    store(engine, surge(), surge(id="b"), surge(id="c"))
    now = now_us()
    with transaction(engine) as connection:
        first, second = claimed(connection, "w", now)
        outbox.record(connection, [attempt(first, now, Decision("exhausted"))], worker="w")
        outbox.record(connection, [attempt(second, now, Decision("delivered"))], worker="w")
        assert deliveries.recover(connection, subscription, now + HOUR_US, now) == 0
        assert deliveries.recover(connection, subscription, now - HOUR_US, now) == 1
        assert {d.id: d.state for d in deliveries.list_newest(connection)}[first] == "pending"
        deliveries.resend(connection, second, now)
        assert [d.state for d in deliveries.list_newest(connection, state="pending")] == ["pending"] * 3
        subscriptions.disable(connection, subscription, "by hand")
        assert [d.state for d in deliveries.list_newest(connection)] == ["cancelled"] * 3
        with pytest.raises(UsageError, match="disabled"):
            deliveries.resend(connection, first, now)
        subscriptions.enable(connection, subscription)
        assert deliveries.recover(connection, subscription, now - HOUR_US, now) == 3
        with pytest.raises(NotFound, match="`tocsin deliveries list` shows them"):
            deliveries.resend(connection, "msg_none", now)
        assert [made.number for made in deliveries.attempts_of(connection, first)] == [1]


def test_a_subscription_removed_while_a_surge_is_stored_leaves_nothing_pending(
    engine: Engine, keyring: Keyring, surge: MakeSurge
) -> None:
    with Receiver() as receiver:
        subscription = subscribe(engine, receiver, keyring)

    def remove() -> None:
        with transaction(engine) as connection:
            subscriptions.remove(connection, subscription)

    def waiting_for_a_lock() -> bool:
        with transaction(engine) as connection:
            return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    remover = threading.Thread(target=remove)
    with transaction(engine) as connection:
        dispatcher.store(connection, [surge()], now_us())
        remover.start()
        eventually(waiting_for_a_lock)
    remover.join()
    assert states(engine) == ["cancelled"]
    with pytest.raises(NotFound), transaction(engine) as connection:
        deliveries.resend(connection, row(engine).id, now_us())
