"""The first schema: positions, fold states, dead letters, alerts, subscriptions, deliveries."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE alerts (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    run TEXT NOT NULL,
    stream TEXT NOT NULL,
    "group" TEXT NOT NULL,
    direction TEXT,
    state TEXT NOT NULL,
    severity TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    tick_end_at TIMESTAMP WITH TIME ZONE NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    sequence INTEGER NOT NULL,
    latest JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_alerts PRIMARY KEY (id),
    CONSTRAINT ck_alerts_kind CHECK (kind IN ('surge', 'system')),
    CONSTRAINT ck_alerts_state CHECK (state IN ('open', 'resolved')),
    CONSTRAINT ck_alerts_severity CHECK (severity IN ('info', 'warning', 'critical'))
);
CREATE INDEX ix_alerts_open ON alerts (kind, stream) WHERE state = 'open';
CREATE INDEX ix_alerts_opened_at ON alerts (opened_at);

CREATE TABLE dead_letters (
    id BIGSERIAL NOT NULL,
    run TEXT NOT NULL,
    stream TEXT NOT NULL,
    partition TEXT NOT NULL,
    position BIGINT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    form TEXT NOT NULL,
    source TEXT DEFAULT '' NOT NULL,
    item_id TEXT DEFAULT '' NOT NULL,
    reason TEXT NOT NULL,
    payload BYTEA NOT NULL,
    retry_requested_at TIMESTAMP WITH TIME ZONE,
    retried_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_dead_letters PRIMARY KEY (id),
    CONSTRAINT uq_dead_letters_run_partition_position UNIQUE (run, partition, position)
);
CREATE INDEX ix_dead_letters_received_at ON dead_letters (received_at);
CREATE INDEX ix_dead_letters_to_retry ON dead_letters (retry_requested_at)
    WHERE retry_requested_at IS NOT NULL AND retried_at IS NULL;

CREATE TABLE fold_states (
    run TEXT NOT NULL,
    name TEXT NOT NULL,
    state BYTEA NOT NULL,
    CONSTRAINT pk_fold_states PRIMARY KEY (run, name)
);

CREATE TABLE positions (
    run TEXT NOT NULL,
    partition TEXT NOT NULL,
    stream TEXT NOT NULL,
    position BIGINT NOT NULL,
    accepted BIGINT DEFAULT 0 NOT NULL,
    counted BIGINT DEFAULT 0 NOT NULL,
    late BIGINT DEFAULT 0 NOT NULL,
    duplicates BIGINT DEFAULT 0 NOT NULL,
    dead BIGINT DEFAULT 0 NOT NULL,
    watermark_us BIGINT,
    segment TEXT,
    segment_end BIGINT,
    CONSTRAINT pk_positions PRIMARY KEY (run, partition)
);

CREATE TABLE subscriptions (
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    stream TEXT DEFAULT '*' NOT NULL,
    "group" TEXT DEFAULT '*' NOT NULL,
    min_severity TEXT DEFAULT 'info' NOT NULL,
    states TEXT[] NOT NULL,
    secret BYTEA NOT NULL,
    previous_secret BYTEA,
    previous_until TIMESTAMP WITH TIME ZONE,
    enabled BOOLEAN DEFAULT true NOT NULL,
    disabled_reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    first_failure_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_subscriptions PRIMARY KEY (id),
    CONSTRAINT ck_subscriptions_min_severity CHECK (min_severity IN ('info', 'warning', 'critical'))
);

CREATE TABLE transitions (
    alert_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    stream TEXT NOT NULL,
    state TEXT NOT NULL,
    tick BIGINT,
    body JSONB NOT NULL,
    encoded BYTEA NOT NULL,
    CONSTRAINT pk_transitions PRIMARY KEY (alert_id, sequence),
    CONSTRAINT fk_transitions_alert_id FOREIGN KEY (alert_id) REFERENCES alerts (id)
);

CREATE TABLE deliveries (
    id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    payload BYTEA NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    lease_by TEXT,
    delivered_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_deliveries PRIMARY KEY (id),
    CONSTRAINT fk_deliveries_alert_id_sequence FOREIGN KEY (alert_id, sequence)
        REFERENCES transitions (alert_id, sequence),
    CONSTRAINT uq_deliveries_subscription_id_alert_id_sequence UNIQUE (subscription_id, alert_id, sequence),
    CONSTRAINT ck_deliveries_state CHECK (state IN ('pending', 'delivered', 'exhausted', 'cancelled'))
);
CREATE INDEX ix_deliveries_alert_id_sequence ON deliveries (alert_id, sequence);
CREATE INDEX ix_deliveries_created_at ON deliveries (created_at);
CREATE INDEX ix_deliveries_due ON deliveries (subscription_id, due_at) WHERE state = 'pending';

CREATE TABLE attempts (
    delivery_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    status SMALLINT,
    duration_ms INTEGER NOT NULL,
    response BYTEA NOT NULL,
    error TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_attempts PRIMARY KEY (delivery_id, number),
    CONSTRAINT fk_attempts_delivery_id FOREIGN KEY (delivery_id) REFERENCES deliveries (id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(
        "DROP TABLE attempts, deliveries, transitions, subscriptions, alerts, dead_letters, fold_states, positions"
    )
