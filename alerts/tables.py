"""Every table of Tocsin, in one MetaData; the migrations build the same (a test compares them).

The database keeps these guarantees:

- a transition is stored once: primary key (alert_id, sequence);
- a transition is delivered once to a subscription: unique (subscription_id, alert_id, sequence);
- a dead letter is stored once: unique (run, partition, position);
- a checkpoint moves positions and fold states together, since they are written in one transaction;
- on Kafka, what a record says and that it was read (`consumed`) are written in one transaction.

Columns that end in `_at` are instants of the wall clock or of event time (`timestamptz`); those that end in
`_us` are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeDecorator


def storable(value: str) -> str:
    """Text that Postgres can hold: NUL and lone surrogates, which hostile items bring, become U+FFFD."""
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def storable_json(value: Any) -> Any:
    """The same for every text within a JSON value; numbers that JSON has not (NaN, infinities) become null."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class SafeText(TypeDecorator[str]):
    """Text that came from outside; see `storable`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class SafeJson(TypeDecorator[Any]):
    """JSON with text that came from outside; see `storable_json`."""

    impl = JSONB
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return storable_json(value)


INSTANT = DateTime(timezone=True)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: How far each raw partition is folded, and the four counts that promise 1 adds up. `segment`, `segment_end`
#: say up to where the recorded scores are valid.
positions = Table(
    "positions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("partition", SafeText, primary_key=True),
    Column("stream", SafeText, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False, server_default=text("0")),
    Column("counted", BigInteger, nullable=False, server_default=text("0")),
    Column("late", BigInteger, nullable=False, server_default=text("0")),
    Column("duplicates", BigInteger, nullable=False, server_default=text("0")),
    Column("dead", BigInteger, nullable=False, server_default=text("0")),
    Column("watermark_us", BigInteger),
    Column("segment", Text),
    Column("segment_end", BigInteger),
)

#: Whom a run belongs to: the id of a data folder, or the name of a Kafka deployment.
runs = Table(
    "runs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("folder", Text, nullable=False),
)

#: How far each partition of a Kafka topic is stored here. `topic_id` tells a topic from one that is made anew under
#: its name.
consumed = Table(
    "consumed",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("topic_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)

fold_states = Table(
    "fold_states",
    metadata,
    Column("run", Text, primary_key=True),
    Column("name", SafeText, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

#: Unmasked, like the raw log: kept for `raw_retention_days`.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("run", Text, nullable=False),
    Column("stream", SafeText, nullable=False),
    Column("partition", SafeText, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("received_at", INSTANT, nullable=False),
    Column("form", Text, nullable=False),
    Column("source", SafeText, nullable=False, server_default=text("''")),
    Column("item_id", SafeText, nullable=False, server_default=text("''")),
    Column("reason", SafeText, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("retry_requested_at", INSTANT),
    Column("retried_at", INSTANT),
    UniqueConstraint("run", "partition", "position"),
    Index("ix_dead_letters_received_at", "received_at"),
    Index(
        "ix_dead_letters_to_retry",
        "retry_requested_at",
        postgresql_where=text("retry_requested_at IS NOT NULL AND retried_at IS NULL"),
    ),
)

#: A surge as people meet it, or an alarm of the pipeline itself (kind "system").
alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("stream", SafeText, nullable=False),
    Column("group", SafeText, nullable=False),
    Column("direction", Text),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("tick_end_at", INSTANT, nullable=False),
    Column("resolved_at", INSTANT),
    Column("sequence", Integer, nullable=False),
    Column("latest", SafeJson, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    CheckConstraint("kind IN ('surge', 'system')", name="kind"),
    CheckConstraint("state IN ('open', 'resolved')", name="state"),
    CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
    Index("ix_alerts_opened_at", "opened_at"),
    # Not by group: that is text from outside, and an index row holds at most 2,700 bytes.
    Index("ix_alerts_open", "kind", "stream", postgresql_where=text("state = 'open'")),
)

#: `encoded` is the record as it was made, byte for byte: digests and replay compare it. `body` is for people.
transitions = Table(
    "transitions",
    metadata,
    Column("alert_id", Text, ForeignKey(alerts.c.id), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("stream", SafeText, nullable=False),
    Column("state", Text, nullable=False),
    Column("tick", BigInteger),
    Column("body", SafeJson, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
)

#: `secret` and `previous_secret` are encrypted; the previous one also signs until `previous_until`.
#: `first_failure_at` is the first failure since the last success.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("stream", SafeText, nullable=False, server_default=text("'*'")),
    Column("group", SafeText, nullable=False, server_default=text("'*'")),
    Column("min_severity", Text, nullable=False, server_default=text("'info'")),
    Column("states", ARRAY(Text), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", INSTANT),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text),
    Column("created_at", INSTANT, nullable=False),
    Column("first_failure_at", INSTANT),
    CheckConstraint("min_severity IN ('info', 'warning', 'critical')", name="min_severity"),
)

#: `id` is the `webhook-id` of every attempt and `payload` its body. `attempts` counts since it was last queued.
#: No foreign key to the subscription: its deliveries outlive it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subscription_id", Text, nullable=False),
    Column("alert_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("created_at", INSTANT, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("lease_until", INSTANT),
    Column("lease_by", Text),
    Column("delivered_at", INSTANT),
    ForeignKeyConstraint(["alert_id", "sequence"], ["transitions.alert_id", "transitions.sequence"]),
    UniqueConstraint("subscription_id", "alert_id", "sequence"),
    CheckConstraint("state IN ('pending', 'delivered', 'exhausted', 'cancelled')", name="state"),
    # Claiming takes the oldest due delivery of each endpoint; finished ones are not in the way.
    Index("ix_deliveries_due", "subscription_id", "due_at", postgresql_where=text("state = 'pending'")),
    Index("ix_deliveries_alert_id_sequence", "alert_id", "sequence"),
    Index("ix_deliveries_created_at", "created_at"),
    Index("ix_deliveries_state", "state"),  # `tocsin status` counts them
)

#: What every attempt met: `status` is null when no answer came, `response` holds its first 20 KB.
attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey(deliveries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", INSTANT, nullable=False),
    Column("status", SmallInteger),
    Column("duration_ms", Integer, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("error", SafeText, nullable=False, server_default=text("''")),
)

#: Versions of the classifier. `measured` is what its folder said of it when it came; `promoted_at` is when it was
#: promoted last: the live one is the one that was promoted last of all.
models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    Column("added_at", INSTANT, nullable=False),
    Column("measured", SafeJson, nullable=False),
    Column("promoted_at", INSTANT),
)

#: The files that make a promoted version, so that workers on other machines get it from here.
model_files = Table(
    "model_files",
    metadata,
    Column("version", Text, ForeignKey(models.c.version, ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
