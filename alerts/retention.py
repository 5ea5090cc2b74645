"""What ended long ago leaves the database: dead letters, finished deliveries with their attempts, resolved alerts.

Delivery: a delivery that is still to be made stays, and so does its alert; an open alert stays, however old.
Idempotence: what is gone is gone; call it again until it returns 0.
Raises: StoreUnavailable.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, select

from alerts import dead_letters
from alerts.store import transaction
from alerts.tables import alerts, deliveries, transitions
from pipeline.instants import DAY_US, to_datetime
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how long things are kept: what is unmasked, and what has ended."""

    raw_us: int
    history_us: int

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        # What raw items can still be folded into again must be there to compare it with.
        history_days = max(settings.history_days, settings.raw_retention_days)
        return cls(raw_us=round(settings.raw_retention_days * DAY_US), history_us=round(history_days * DAY_US))


def apply(engine: Engine, kept: Retention, now_us: int) -> None:
    """Remove all whose time is over."""
    with transaction(engine) as connection:
        dead_letters.forget(connection, now_us - kept.raw_us)
    while prune(engine, now_us - kept.history_us):
        pass


def prune(engine: Engine, before_us: int, *, limit: int = 5000) -> int:
    """Remove at most `limit` deliveries, then alerts that no delivery refers to; how many of both together.

    Deliveries that were made, given up or cancelled, and were queued before an instant; alerts that were resolved and
    last changed before it, with their transitions.
    """
    before = to_datetime(before_us)
    d, a = deliveries.c, alerts.c
    finished = (
        select(d.id)
        .where(d.state != "pending", d.created_at < before, func.coalesce(d.delivered_at, d.created_at) < before)
        .order_by(d.created_at)
        .limit(limit)
    )
    told = select(d.id).where(d.alert_id == a.id).exists()
    resolved = (
        select(a.id)
        .where(a.state == "resolved", a.opened_at < before, a.updated_at < before, ~told)
        .order_by(a.opened_at)
        .limit(limit)
        .with_for_update(of=alerts)
    )
    with transaction(engine) as connection:
        removed = connection.execute(delete(deliveries).where(d.id.in_(finished))).rowcount
        ids = connection.execute(resolved).scalars().all()
        if ids:
            connection.execute(delete(transitions).where(transitions.c.alert_id.in_(ids)))
            connection.execute(delete(alerts).where(a.id.in_(ids)))
    return removed + len(ids)
