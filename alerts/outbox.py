"""The outbox: deliveries that wait, are claimed, and what their attempts met.

Delivery: a claimed delivery is leased; when its worker dies, the lease runs out and another claims it: one more
attempt with the same id, never none. An attempt of a worker that lost its lease is kept, and counts, but
changes the delivery only when it succeeded.
Ordering: none between deliveries. Each endpoint has its own queue, and claiming takes from all in turn.
Idempotence: recording the same attempt again changes nothing, so a commit in doubt is repeated.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Connection, LargeBinary, bindparam, func, select, text

from alerts.retry import Decision
from alerts.tables import deliveries, storable
from pipeline.instants import SECOND_US, to_datetime

#: Longer than an attempt and its recording take.
LEASE_US = 60 * SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that this worker holds, with what is needed to send it. Secrets are encrypted."""

    id: str
    subscription: str
    url: str
    payload: bytes
    attempts: int
    secret: bytes
    previous_secret: bytes | None
    previous_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt met, and what follows."""

    delivery: str
    subscription: str
    at_us: int
    status: int | None
    duration_ms: int
    response: bytes
    error: str
    decision: Decision


# Each endpoint gives up to its free window; `turn` orders the oldest of each first, then the second of each,
# so that one endpoint with a long queue cannot take all the room.
_CLAIM = text(
    """
WITH busy AS (
    SELECT * FROM unnest(CAST(:busy AS text[]), CAST(:free AS int[])) AS busy (id, free)
), taken AS (
    SELECT ready.id
    FROM subscriptions LEFT JOIN busy ON busy.id = subscriptions.id
    CROSS JOIN LATERAL (
        SELECT locked.id, row_number() OVER (ORDER BY locked.due_at) AS turn
        FROM (
            SELECT id, due_at FROM deliveries
            WHERE subscription_id = subscriptions.id AND state = 'pending' AND due_at <= :now
                AND (lease_until IS NULL OR lease_until < :now)
            ORDER BY due_at
            LIMIT COALESCE(busy.free, :window)
            FOR UPDATE SKIP LOCKED
        ) AS locked
    ) AS ready
    WHERE subscriptions.enabled
    ORDER BY ready.turn
    LIMIT :room
)
UPDATE deliveries SET lease_until = :until, lease_by = :worker
FROM taken, subscriptions
WHERE deliveries.id = taken.id AND subscriptions.id = deliveries.subscription_id
RETURNING deliveries.id, deliveries.payload, deliveries.attempts, subscriptions.id AS subscription,
    subscriptions.url, subscriptions.secret, subscriptions.previous_secret, subscriptions.previous_until
"""
)

_RECORD = text(
    """
UPDATE deliveries SET
    attempts = attempts + 1,
    state = CASE WHEN made.state = 'delivered' OR lease_by = :worker AND deliveries.state = 'pending'
        THEN made.state ELSE deliveries.state END,
    delivered_at = CASE WHEN made.state = 'delivered' THEN COALESCE(delivered_at, made.at) ELSE delivered_at END,
    due_at = CASE WHEN lease_by = :worker THEN made.due_at ELSE deliveries.due_at END,
    lease_until = CASE WHEN lease_by = :worker THEN NULL ELSE lease_until END,
    lease_by = NULLIF(lease_by, :worker)
FROM unnest(CAST(:ids AS text[]), CAST(:states AS text[]), CAST(:ats AS timestamptz[]),
    CAST(:dues AS timestamptz[])) AS made (id, state, at, due_at)
WHERE deliveries.id = made.id
    AND NOT EXISTS (SELECT FROM attempts WHERE delivery_id = made.id AND attempts.at = made.at)
RETURNING deliveries.id
"""
)

# A statement of its own: it sees the attempts of another worker that held the row before.
_ATTEMPTS = text(
    """
INSERT INTO attempts (delivery_id, number, at, status, duration_ms, response, error)
SELECT id, 1 + (SELECT COALESCE(max(number), 0) FROM attempts WHERE delivery_id = id),
    at, status, duration_ms, response, error
FROM unnest(CAST(:ids AS text[]), CAST(:ats AS timestamptz[]), CAST(:statuses AS smallint[]),
    CAST(:durations AS int[]), CAST(:responses AS bytea[]), CAST(:errors AS text[]))
    AS made (id, at, status, duration_ms, response, error)
"""
).bindparams(bindparam("responses", type_=ARRAY(LargeBinary)))

_RELEASE = text(
    """
UPDATE deliveries SET lease_until = NULL, lease_by = NULL
WHERE state = 'pending' AND lease_by = :worker AND id <> ALL (CAST(:held AS text[]))
"""
)


def claim(
    connection: Connection, *, worker: str, now_us: int, room: int, window: int, free: Mapping[str, int]
) -> list[Claimed]:
    """Lease up to `room` due deliveries: for each subscription at most `free[id]`, or `window` if not in it."""
    rows = connection.execute(
        _CLAIM,
        {
            "worker": worker,
            "now": to_datetime(now_us),
            "until": to_datetime(now_us + LEASE_US),
            "room": room,
            "window": window,
            "busy": list(free),
            "free": list(free.values()),
        },
    )
    return [
        Claimed(
            id=row.id,
            subscription=row.subscription,
            url=row.url,
            payload=bytes(row.payload),
            attempts=row.attempts,
            secret=bytes(row.secret),
            previous_secret=None if row.previous_secret is None else bytes(row.previous_secret),
            previous_until=row.previous_until,
        )
        for row in rows
    ]


def record(connection: Connection, attempts: Sequence[Attempt], *, worker: str) -> list[Attempt]:
    """Keep attempts and move their deliveries on. Returns those that were not recorded before."""
    if not attempts:
        return []
    known = connection.execute(
        _RECORD,
        {
            "worker": worker,
            "ids": [made.delivery for made in attempts],
            "states": [made.decision.state for made in attempts],
            "ats": [to_datetime(made.at_us) for made in attempts],
            "dues": [
                to_datetime(made.at_us + made.duration_ms * 1000 + int(made.decision.wait_s * SECOND_US))
                for made in attempts
            ],
        },
    )
    moved = {row.id for row in known}
    fresh = [made for made in attempts if made.delivery in moved]
    if fresh:
        connection.execute(_ATTEMPTS, _columns(fresh))
    return fresh


def release(connection: Connection, *, worker: str, held: Sequence[str]) -> None:
    """Give back what this worker leased without knowing it: the answer to a claim was lost on the way."""
    connection.execute(_RELEASE, {"worker": worker, "held": list(held)})


def depth(connection: Connection) -> int:
    """How many deliveries wait to be sent, now or later."""
    return connection.scalar(select(func.count()).where(deliveries.c.state == "pending")) or 0


def _columns(attempts: Sequence[Attempt]) -> dict[str, list[Any]]:
    return {
        "ids": [made.delivery for made in attempts],
        "ats": [to_datetime(made.at_us) for made in attempts],
        "statuses": [made.status for made in attempts],
        "durations": [made.duration_ms for made in attempts],
        "responses": [made.response for made in attempts],
        "errors": [storable(made.error) for made in attempts],
    }
