"""How far Kafka's topics are stored here."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE consumed (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    topic_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    CONSTRAINT pk_consumed PRIMARY KEY (topic, partition)
)
"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE consumed")
