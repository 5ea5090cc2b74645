"""Stores what the judge says, and queues who is to be told, in the transaction of the caller.

Delivery: when the caller's transaction commits, each transition is stored once, its alert shows the newest of
them, and one delivery is queued for each subscription that is enabled and matches, of which those that send hear
at once (`notices`); when it does not commit, none of this happened.
Ordering: transitions of one alert may come in any order; the greatest sequence decides what the alert shows.
Idempotence: storing the same transitions again changes nothing and queues nothing.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from alerts import notices
from alerts.payload import surge_data, surge_payload, system_data, system_payload
from alerts.routing import LIVE_RUN, Route, Routed, route
from alerts.system_alarm import SystemAlarm
from alerts.tables import alerts, deliveries, storable, subscriptions, transitions
from pipeline.instants import from_datetime, to_datetime
from pipeline.records import Transition, encode


def delivery_id(subscription: str, alert: str, sequence: int) -> str:
    """The `webhook-id`: the same for the same transition and subscription, on every attempt, for ever."""
    named = f"{subscription}\x00{alert}\x00{sequence}"
    return "msg_" + hashlib.sha256(named.encode()).hexdigest()[:32]


def store(connection: Connection, records: Sequence[Transition], now_us: int, *, deliver: bool | None = None) -> int:
    """Store transitions and queue their deliveries. Returns how many transitions were new.

    `deliver`: None queues for the live run alone, False for none, True for whichever run these belong to.
    """
    if not records:
        return 0
    now = to_datetime(now_us)
    newest: dict[str, Transition] = {}
    for record in records:
        if record.id not in newest or newest[record.id].sequence < record.sequence:
            newest[record.id] = record
    _upsert_alerts(connection, [_surge_alert(record, now) for record in newest.values()])
    fresh = _insert_transitions(
        connection,
        [
            {
                "alert_id": record.id,
                "sequence": record.sequence,
                "stream": record.stream,
                "state": record.state,
                "tick": record.tick,
                "body": surge_data(record),
                "encoded": encode(record),
            }
            for record in records
        ],
    )
    wanted = [
        (record.id, record.sequence, record, surge_payload(record))
        for record in records
        if (record.id, record.sequence) in fresh and (record.run == LIVE_RUN if deliver is None else deliver)
    ]
    _queue(connection, wanted, now)
    return len(fresh)


def store_system_alarm(connection: Connection, alarm: SystemAlarm) -> bool:
    """Open or resolve an alarm of the pipeline, and queue its deliveries. Returns whether that was news.

    While an alarm with the same `what`, `stream` and `subject` is open, opening it again changes nothing,
    whatever its `since_us`, and a resolved one ends it; so a shell needs no memory of what it raised. Resolving
    what is not open changes nothing.
    """
    now = to_datetime(alarm.at_us)
    open_one = connection.execute(
        select(alerts.c.opened_at)
        .where(alerts.c.kind == "system", alerts.c.state == "open")
        .where(alerts.c.stream == storable(alarm.stream), alerts.c.group == storable(alarm.group))
        .with_for_update()
    ).first()
    if (open_one is None) == (alarm.state == "resolved"):
        return False
    if open_one is not None:  # with the instant it began at, the alarm has its id
        alarm = msgspec.structs.replace(alarm, since_us=from_datetime(open_one.opened_at))
    data = system_data(alarm)
    _upsert_alerts(
        connection,
        [
            {
                "id": alarm.id,
                "kind": "system",
                "run": LIVE_RUN,
                "stream": alarm.stream,
                "group": alarm.group,
                "direction": None,
                "state": "resolved" if alarm.state == "resolved" else "open",
                "severity": alarm.severity,
                "opened_at": to_datetime(alarm.since_us),
                "tick_end_at": now,
                "resolved_at": now if alarm.state == "resolved" else None,
                "sequence": alarm.sequence,
                "latest": data,
                "created_at": now,
                "updated_at": now,
            }
        ],
    )
    row = {
        "alert_id": alarm.id,
        "sequence": alarm.sequence,
        "stream": alarm.stream,
        "state": alarm.state,
        "tick": None,
        "body": data,
        "encoded": encode(alarm),
    }
    fresh = _insert_transitions(connection, [row])
    if fresh:
        _queue(connection, [(alarm.id, alarm.sequence, alarm, system_payload(alarm))], now)
    return bool(fresh)


def _surge_alert(record: Transition, now: datetime) -> dict[str, Any]:
    end = to_datetime(record.tick_end_us)
    resolved = record.state == "resolved"
    return {
        "id": record.id,
        "kind": "surge",
        "run": record.run,
        "stream": record.stream,
        "group": record.group,
        "direction": record.direction,
        "state": "resolved" if resolved else "open",
        "severity": record.severity,
        "opened_at": to_datetime(record.opened_us),
        "tick_end_at": end,
        "resolved_at": end if resolved else None,
        "sequence": record.sequence,
        "latest": surge_data(record),
        "created_at": now,
        "updated_at": now,
    }


def _upsert_alerts(connection: Connection, rows: list[dict[str, Any]]) -> None:
    statement = insert(alerts)
    # What a later transition may change.
    moves = ("group", "state", "severity", "tick_end_at", "resolved_at", "sequence", "latest", "updated_at")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[alerts.c.id],
            set_={name: statement.excluded[name] for name in moves},
            where=alerts.c.sequence < statement.excluded.sequence,
        ),
        rows,
    )


def _insert_transitions(connection: Connection, rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Returns those that were not there yet."""
    statement = insert(transitions).on_conflict_do_nothing()
    found = connection.execute(statement.returning(transitions.c.alert_id, transitions.c.sequence), rows)
    return {(row.alert_id, row.sequence) for row in found}


def _queue(connection: Connection, wanted: Sequence[tuple[str, int, Routed, bytes]], now: datetime) -> None:
    if not wanted:
        return
    # KEY SHARE: a subscription that is being removed is waited for, so that no delivery is queued to one that
    # is gone; changes that leave its id alone (a failure noted by a worker) are not.
    routes = {
        row.id: Route(stream=row.stream, group=row.group, min_severity=row.min_severity, states=tuple(row.states))
        for row in connection.execute(
            select(subscriptions).where(subscriptions.c.enabled).with_for_update(read=True, key_share=True)
        )
    }
    rows = [
        {
            "id": delivery_id(subscription, alert, sequence),
            "subscription_id": subscription,
            "alert_id": alert,
            "sequence": sequence,
            "payload": payload,
            "created_at": now,
            "due_at": now,
        }
        for alert, sequence, record, payload in wanted
        for subscription, wish in routes.items()
        if route(wish, record)
    ]
    if rows:
        connection.execute(insert(deliveries).on_conflict_do_nothing(), rows)
        notices.announce(connection)
