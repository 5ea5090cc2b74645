"""What the judge says reaches Postgres once, and queues one delivery for each who wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Engine, func, select

from alerts import dispatcher
from alerts.store import transaction
from alerts.system_alarm import SystemAlarm
from alerts.tables import alerts, deliveries, subscriptions, transitions
from pipeline.instants import DAY_US, MINUTE_US, to_datetime
from pipeline.records import Exemplar, Transition, decode

NOW = 20_000 * DAY_US

MakeSurge = Callable[..., Transition]


def subscribe(connection: Connection, name: str, **changes: Any) -> None:
    row = {
        "id": name,
        "url": "https://hooks.example/",
        "states": ["opened", "grew", "resolved"],
        "secret": b"",
        "created_at": to_datetime(NOW),
    }
    connection.execute(subscriptions.insert().values(**{**row, **changes}))


def queued(connection: Connection) -> list[tuple[str, str, int]]:
    rows = connection.execute(
        select(deliveries.c.subscription_id, deliveries.c.alert_id, deliveries.c.sequence).order_by(
            deliveries.c.subscription_id, deliveries.c.alert_id, deliveries.c.sequence
        )
    )
    return [tuple(row) for row in rows]


def test_a_transition_makes_an_alert_and_one_delivery_for_each_who_wants_it(engine: Engine, surge: MakeSurge) -> None:
    with transaction(engine) as connection:
        subscribe(connection, "all")
        subscribe(connection, "logs", stream="logs")
        subscribe(connection, "grave", min_severity="critical")
        subscribe(connection, "off", enabled=False)
        assert dispatcher.store(connection, [surge()], NOW) == 1
    with transaction(engine) as connection:
        alert = connection.execute(select(alerts)).one()
        assert (alert.kind, alert.state, alert.sequence, alert.group) == ("surge", "open", 1, "topic:finance")
        assert alert.latest["exemplars"][0]["text"] == "Bank fails"
        stored = connection.execute(select(transitions)).one()
        assert decode(bytes(stored.encoded), Transition) == surge()
        assert queued(connection) == [("all", "a" * 32, 1)]


def test_storing_the_same_again_changes_nothing(engine: Engine, surge: MakeSurge) -> None:
    for _ in range(2):
        with transaction(engine) as connection:
            if not connection.scalar(select(func.count()).select_from(subscriptions)):
                subscribe(connection, "all")
            dispatcher.store(connection, [surge(), surge(sequence=2, state="grew"), surge()], NOW)
    with transaction(engine) as connection:
        # One who subscribes later is not told of what was stored before.
        subscribe(connection, "late")
        assert dispatcher.store(connection, [surge()], NOW + 1) == 0
        assert queued(connection) == [("all", "a" * 32, 1), ("all", "a" * 32, 2)]
        assert connection.scalar(select(func.count()).select_from(transitions)) == 2


def test_the_greatest_sequence_decides_what_an_alert_shows(engine: Engine, surge: MakeSurge) -> None:
    resolved = surge(sequence=3, state="resolved", tick_end_us=NOW + MINUTE_US)
    with transaction(engine) as connection:
        dispatcher.store(connection, [resolved], NOW)
        dispatcher.store(connection, [surge(sequence=2, state="grew"), surge()], NOW + 1)
        alert = connection.execute(select(alerts)).one()
    assert (alert.state, alert.sequence, alert.resolved_at) == ("resolved", 3, to_datetime(NOW + MINUTE_US))


def test_a_transaction_that_fails_stores_nothing(engine: Engine, surge: MakeSurge) -> None:
    class Killed(Exception):
        pass

    def checkpoint() -> None:
        with transaction(engine) as connection:
            subscribe(connection, "all")
            dispatcher.store(connection, [surge()], NOW)
            raise Killed

    with pytest.raises(Killed):
        checkpoint()
    with transaction(engine) as connection:
        assert queued(connection) == []
        assert connection.scalar(select(func.count()).select_from(alerts)) == 0


def test_a_replay_delivers_nothing_unless_asked(engine: Engine, surge: MakeSurge) -> None:
    with transaction(engine) as connection:
        subscribe(connection, "all")
        dispatcher.store(connection, [surge(run="replay-1", id="b")], NOW)
        assert queued(connection) == []
        dispatcher.store(connection, [surge(run="replay-1", id="c")], NOW, deliver=True)
        assert queued(connection) == [("all", "c", 1)]
        dispatcher.store(connection, [surge(id="d")], NOW, deliver=False)
        assert queued(connection) == [("all", "c", 1)]


def test_the_webhook_id_depends_only_on_transition_and_subscription() -> None:
    first = dispatcher.delivery_id("sub", "alert", 1)
    assert first == dispatcher.delivery_id("sub", "alert", 1)
    assert first.startswith("msg_")
    assert len({first, dispatcher.delivery_id("sub", "alert", 2), dispatcher.delivery_id("bus", "alert", 1)}) == 3


def test_hostile_text_is_stored_and_cannot_stop_a_checkpoint(engine: Engine, surge: MakeSurge) -> None:
    hostile = "a\x00b\\u0000" + "x" * 100_000
    record = surge(
        group=hostile,
        expected=float("nan"),
        p=float("inf"),
        exemplars=[Exemplar(-1, "\x00", NOW, "\x00", hostile)],
        sources={"\x00": 1},
    )
    with transaction(engine) as connection:
        subscribe(connection, "all")
        assert dispatcher.store(connection, [record], NOW) == 1
        alert = connection.execute(select(alerts)).one()
    assert alert.group.startswith("a\ufffdb\\u0000x")
    assert alert.latest["expected"] is None


ALARM = SystemAlarm(
    what="clock_stalled",
    subject="news/feed",
    stream="news",
    message="the feed has not moved for 15 minutes; is it up?",
    since_us=NOW - 15 * MINUTE_US,
    at_us=NOW,
)


def test_a_system_alarm_opens_once_and_resolves_once(engine: Engine) -> None:
    again = msgspec.structs.replace(ALARM, since_us=NOW, at_us=NOW + 1)
    over = msgspec.structs.replace(ALARM, state="resolved", since_us=0, at_us=NOW + MINUTE_US)
    with transaction(engine) as connection:
        subscribe(connection, "all")
        subscribe(connection, "finance", group="topic:*")
        assert not dispatcher.store_system_alarm(connection, over), "nothing was open"
        assert dispatcher.store_system_alarm(connection, ALARM)
        assert not dispatcher.store_system_alarm(connection, again), "it is open already"
        assert dispatcher.store_system_alarm(connection, over)
        assert not dispatcher.store_system_alarm(connection, over)
        alert = connection.execute(select(alerts)).one()
        assert (alert.id, alert.kind, alert.state) == (ALARM.id, "system", "resolved")
        assert queued(connection) == [("all", ALARM.id, 1), ("all", ALARM.id, 2)]
        bodies = [msgspec.json.decode(row.payload) for row in connection.execute(select(deliveries))]
    assert {body["type"] for body in bodies} == {"system.opened", "system.resolved"}
    assert {body["data"]["id"] for body in bodies} == {ALARM.id}


def test_an_alarm_that_comes_back_is_a_new_alert(engine: Engine) -> None:
    with transaction(engine) as connection:
        dispatcher.store_system_alarm(connection, ALARM)
        dispatcher.store_system_alarm(connection, msgspec.structs.replace(ALARM, state="resolved"))
        later = msgspec.structs.replace(ALARM, since_us=NOW + MINUTE_US, at_us=NOW + MINUTE_US)
        assert dispatcher.store_system_alarm(connection, later)
        assert connection.scalar(select(func.count()).select_from(alerts)) == 2
