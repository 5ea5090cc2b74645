"""What ended long ago leaves the database: finished deliveries with their attempts, resolved alerts.

Delivery: a delivery that is still to be made stays, and so does its alert; an open alert stays, however old.
Idempotence: what is gone is gone; call it again until it returns 0.
Raises: StoreUnavailable.
"""

from __future__ import annotations

from sqlalchemy import Engine, delete, func, select

from alerts.store import transaction
from alerts.tables import alerts, deliveries, transitions
from pipeline.instants import to_datetime


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
