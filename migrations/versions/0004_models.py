"""Which versions of the classifier there are, what they measured, and when each was promoted."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE models (
    version TEXT NOT NULL,
    added_at TIMESTAMP WITH TIME ZONE NOT NULL,
    measured JSONB NOT NULL,
    promoted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_models PRIMARY KEY (version)
)
"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE models")
