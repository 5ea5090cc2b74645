"""The files of promoted versions of the classifier, so that every worker can get what is live."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE model_files (
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT pk_model_files PRIMARY KEY (version, name),
    CONSTRAINT fk_model_files_version_models FOREIGN KEY(version) REFERENCES models (version) ON DELETE CASCADE
)
"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE model_files")
