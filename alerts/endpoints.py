"""What attempts say of an endpoint as a whole: how long it has only failed, and when that is enough.

An endpoint that answers 410, or that only failed for 120 hours, is disabled, its pending deliveries are
cancelled, and an alarm of its own ("endpoint_disabled") tells those who subscribed to alarms of the pipeline;
enabling it again resolves the alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from alerts import subscriptions
from alerts.dispatcher import store_system_alarm
from alerts.outbox import Attempt
from alerts.retry import DISABLE_AFTER_US, has_only_failed
from alerts.system_alarm import SystemAlarm
from alerts.tables import subscriptions as table
from pipeline.instants import HOUR_US, from_datetime, to_datetime

WHAT = "endpoint_disabled"


def judge(connection: Connection, attempts: Sequence[Attempt], now_us: int) -> list[str]:
    """Note successes and failures; returns the ids of the subscriptions that this disabled."""
    gone = {made.subscription for made in attempts if made.decision.gone}
    first_failures: dict[str, int | None] = {}
    for made in sorted(attempts, key=lambda made: made.at_us):
        if made.decision.state == "delivered":
            first_failures[made.subscription] = None
        elif first_failures.get(made.subscription) is None:
            first_failures[made.subscription] = made.at_us
    succeeded = {made.subscription for made in attempts if made.decision.state == "delivered"}
    if succeeded:
        # Nearly always there is nothing to write: a healthy endpoint costs no update.
        connection.execute(
            update(table)
            .where(table.c.id.in_(sorted(succeeded)), table.c.first_failure_at.is_not(None))
            .values(first_failure_at=None)
        )
    disabled = []
    for subscription, first in sorted(first_failures.items()):
        if first is None:
            continue
        row = connection.execute(
            select(table.c.enabled, table.c.first_failure_at)
            .where(table.c.id == subscription)
            .with_for_update(key_share=True)  # it cannot be removed meanwhile; queueing to it goes on
        ).first()
        if row is None or not row.enabled:
            continue
        if row.first_failure_at is not None:
            first = from_datetime(row.first_failure_at)
        else:
            noted = update(table).where(table.c.id == subscription)
            connection.execute(noted.values(first_failure_at=to_datetime(first)))
        if subscription in gone:
            _disable(connection, subscription, "it answered 410 Gone", now_us)
            disabled.append(subscription)
        elif has_only_failed(first, now_us):
            hours = DISABLE_AFTER_US // HOUR_US
            _disable(connection, subscription, f"every attempt failed for {hours} hours", now_us)
            disabled.append(subscription)
    return disabled


def enable(connection: Connection, subscription: str, now_us: int) -> None:
    """Send to it again, from the next transition on, and end the alarm. Raises NotFound."""
    subscriptions.enable(connection, subscription)
    store_system_alarm(
        connection,
        SystemAlarm(
            what=WHAT,
            subject=subscription,
            state="resolved",
            severity="warning",
            message=f"Webhook endpoint {subscription} was enabled again.",
            since_us=now_us,
            at_us=now_us,
        ),
    )


def _disable(connection: Connection, subscription: str, reason: str, now_us: int) -> None:
    subscriptions.disable(connection, subscription, reason)
    store_system_alarm(
        connection,
        SystemAlarm(
            what=WHAT,
            subject=subscription,
            severity="warning",
            message=f"Webhook endpoint {subscription} was disabled: {reason}. Repair it, enable it, recover.",
            since_us=now_us,
            at_us=now_us,
        ),
    )
