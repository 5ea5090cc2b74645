"""Deliveries for people: what was sent and what became of it, send it again, recover after an outage.

Each function works in the transaction of the caller. A delivery that is queued again keeps its id, so a
receiver that had it drops it; its attempts go on counting, its schedule begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, or_, select, update

from alerts import subscriptions
from alerts.tables import attempts as attempt_table
from alerts.tables import deliveries as table
from pipeline.errors import NotFound, UsageError
from pipeline.instants import to_datetime

_QUEUED = {"state": "pending", "attempts": 0, "lease_until": None, "lease_by": None, "delivered_at": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One notification to one endpoint."""

    id: str
    subscription: str
    alert: str
    sequence: int
    state: str
    attempts: int
    created_at: datetime
    due_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """What one attempt met; `status` is None when no answer came."""

    number: int
    at: datetime
    status: int | None
    duration_ms: int
    response: bytes
    error: str


def list_newest(
    connection: Connection,
    *,
    state: str | None = None,
    subscription: str | None = None,
    alert: str | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """The newest first."""
    wanted = select(table).order_by(table.c.created_at.desc(), table.c.id).limit(limit)
    for column, value in ((table.c.state, state), (table.c.subscription_id, subscription), (table.c.alert_id, alert)):
        if value is not None:
            wanted = wanted.where(column == value)
    return [
        Delivery(
            id=row.id,
            subscription=row.subscription_id,
            alert=row.alert_id,
            sequence=row.sequence,
            state=row.state,
            attempts=row.attempts,
            created_at=row.created_at,
            due_at=row.due_at,
            delivered_at=row.delivered_at,
        )
        for row in connection.execute(wanted)
    ]


def attempts_of(connection: Connection, delivery: str) -> list[PastAttempt]:
    """Every attempt of one delivery, the first first. Raises NotFound."""
    _subscription_of(connection, delivery)
    rows = connection.execute(
        select(attempt_table).where(attempt_table.c.delivery_id == delivery).order_by(attempt_table.c.number)
    )
    return [
        PastAttempt(
            number=row.number,
            at=row.at,
            status=row.status,
            duration_ms=row.duration_ms,
            response=bytes(row.response),
            error=row.error,
        )
        for row in rows
    ]


def resend(connection: Connection, delivery: str, now_us: int) -> None:
    """Queue one delivery again, whatever became of it. Raises NotFound, UsageError."""
    _sendable(connection, _subscription_of(connection, delivery))
    connection.execute(update(table).where(table.c.id == delivery).values(due_at=to_datetime(now_us), **_QUEUED))


def recover(connection: Connection, subscription: str, since_us: int, now_us: int) -> int:
    """Queue again what was given up for a subscription since then: all that is exhausted or cancelled and was
    queued or attempted at that time or later. Returns how many. Raises NotFound, UsageError."""
    _sendable(connection, subscription)
    since = to_datetime(since_us)
    tried = exists().where(attempt_table.c.delivery_id == table.c.id, attempt_table.c.at >= since)
    return connection.execute(
        update(table)
        .where(table.c.subscription_id == subscription, table.c.state.in_(("exhausted", "cancelled")))
        .where(or_(table.c.created_at >= since, tried))
        .values(due_at=to_datetime(now_us), **_QUEUED)
    ).rowcount


def _subscription_of(connection: Connection, delivery: str) -> str:
    found: str | None = connection.scalar(select(table.c.subscription_id).where(table.c.id == delivery))
    if found is None:
        raise NotFound(f"there is no delivery {delivery!r}; `tocsin deliveries list` shows them")
    return found


def _sendable(connection: Connection, subscription: str) -> None:
    if not subscriptions.get(connection, subscription).enabled:
        raise UsageError(f"subscription {subscription} is disabled; enable it first")
