"""Subscriptions: who wants which alerts where. Each function works in the transaction of the caller.

The secret of a subscription is shown once, when it is made or rotated, and encrypted at rest. A subscription
that is disabled or removed is sent nothing more: its pending deliveries are cancelled (`deliveries` can queue
them again), also those of transitions that are being stored at the same time when it is removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from alerts.egress import parse_url
from alerts.keyring import Keyring
from alerts.routing import SEVERITIES, STATES, Route
from alerts.tables import deliveries, subscriptions
from alerts.webhook import SECRET_BYTES, format_secret
from pipeline.errors import NotFound, UsageError
from pipeline.instants import HOUR_US, to_datetime

#: The old secret also signs for so long after a rotation.
ROTATION_US = 24 * HOUR_US

Draw = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is shown: without its secrets."""

    id: str
    url: str
    route: Route
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    first_failure_at: datetime | None
    rotating_until: datetime | None


def add(
    connection: Connection, *, url: str, wanted: Route, keyring: Keyring, now_us: int, draw: Draw = os.urandom
) -> tuple[Subscription, str]:
    """A new subscription and its secret, which is not shown again. Raises UsageError for what cannot work.

    Whether the address may be reached is asked separately (`caller.look_up`), since it needs the network.
    """
    parse_url(url)
    if wanted.min_severity not in SEVERITIES:
        raise UsageError(f"{wanted.min_severity!r} is no severity; there are {', '.join(SEVERITIES)}")
    unknown = [state for state in wanted.states if state not in STATES]
    if unknown or not wanted.states:
        raise UsageError(f"{unknown} are no states; there are {', '.join(STATES)}")
    key = draw(SECRET_BYTES)
    row = connection.execute(
        insert(subscriptions)
        .values(
            id=f"sub_{draw(12).hex()}",
            url=url,
            stream=wanted.stream,
            group=wanted.group,
            min_severity=wanted.min_severity,
            states=list(wanted.states),
            secret=keyring.encrypt(key),
            created_at=to_datetime(now_us),
        )
        .returning(subscriptions)
    ).one()
    return _shown(row), format_secret(key)


def list_all(connection: Connection) -> list[Subscription]:
    """All of them, the oldest first."""
    rows = connection.execute(select(subscriptions).order_by(subscriptions.c.created_at, subscriptions.c.id))
    return [_shown(row) for row in rows]


def get(connection: Connection, subscription_id: str) -> Subscription:
    """Raises NotFound."""
    return _shown(_row(connection, subscription_id))


def keys(connection: Connection, subscription_id: str, keyring: Keyring, now_us: int) -> list[bytes]:
    """The keys that sign now, the newest first. Raises NotFound."""
    row = _row(connection, subscription_id)
    return signing_keys(row.secret, row.previous_secret, row.previous_until, keyring, to_datetime(now_us))


def signing_keys(
    secret: bytes, previous: bytes | None, until: datetime | None, keyring: Keyring, now: datetime
) -> list[bytes]:
    """The same from the columns of a row."""
    found = [keyring.decrypt(bytes(secret))]
    if previous is not None and until is not None and now < until:
        found.append(keyring.decrypt(bytes(previous)))
    return found


def remove(connection: Connection, subscription_id: str) -> None:
    """Forget it and its secrets; what was delivered stays on record. Raises NotFound."""
    gone = connection.execute(delete(subscriptions).where(subscriptions.c.id == subscription_id))
    if not gone.rowcount:
        raise _not_found(subscription_id)
    _cancel_pending(connection, subscription_id)


def rotate(
    connection: Connection, subscription_id: str, *, keyring: Keyring, now_us: int, draw: Draw = os.urandom
) -> str:
    """A new secret, shown once; the old one also signs for 24 hours. Raises NotFound."""
    key = draw(SECRET_BYTES)
    changed = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id)
        .values(
            secret=keyring.encrypt(key),
            previous_secret=subscriptions.c.secret,
            previous_until=to_datetime(now_us + ROTATION_US),
        )
    )
    if not changed.rowcount:
        raise _not_found(subscription_id)
    return format_secret(key)


def enable(connection: Connection, subscription_id: str) -> None:
    """Send to it again, from the next transition on. Raises NotFound."""
    _set(connection, subscription_id, enabled=True, disabled_reason=None, first_failure_at=None)


def disable(connection: Connection, subscription_id: str, reason: str) -> None:
    """Send nothing more to it. Raises NotFound."""
    _set(connection, subscription_id, enabled=False, disabled_reason=reason)
    _cancel_pending(connection, subscription_id)


def reencrypt(connection: Connection, keyring: Keyring) -> int:
    """Bring all secrets under the first key of the keyring. Returns how many subscriptions there are."""
    rows = connection.execute(select(subscriptions).with_for_update()).all()
    for row in rows:
        previous = row.previous_secret
        _set(
            connection,
            row.id,
            secret=keyring.reencrypt(bytes(row.secret)),
            previous_secret=None if previous is None else keyring.reencrypt(bytes(previous)),
        )
    return len(rows)


def _set(connection: Connection, subscription_id: str, **values: Any) -> None:
    statement = update(subscriptions).where(subscriptions.c.id == subscription_id).values(**values)
    if not connection.execute(statement).rowcount:
        raise _not_found(subscription_id)


def _cancel_pending(connection: Connection, subscription_id: str) -> None:
    connection.execute(
        update(deliveries)
        .where(deliveries.c.subscription_id == subscription_id, deliveries.c.state == "pending")
        .values(state="cancelled", lease_until=None, lease_by=None)
    )


def _row(connection: Connection, subscription_id: str) -> Row[Any]:
    row = connection.execute(select(subscriptions).where(subscriptions.c.id == subscription_id)).first()
    if row is None:
        raise _not_found(subscription_id)
    return row


def _not_found(subscription_id: str) -> NotFound:
    return NotFound(f"there is no subscription {subscription_id!r}; `tocsin subscriptions list` shows them")


def _shown(row: Row[Any]) -> Subscription:
    return Subscription(
        id=row.id,
        url=row.url,
        route=Route(stream=row.stream, group=row.group, min_severity=row.min_severity, states=tuple(row.states)),
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        created_at=row.created_at,
        first_failure_at=row.first_failure_at,
        rotating_until=row.previous_until,
    )
