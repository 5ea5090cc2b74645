"""Which data folder a run belongs to; deliveries by state, so that they are counted quickly."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE runs (
    run TEXT NOT NULL,
    folder TEXT NOT NULL,
    CONSTRAINT pk_runs PRIMARY KEY (run)
);
CREATE INDEX ix_deliveries_state ON deliveries (state);
"""
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_deliveries_state; DROP TABLE runs")
