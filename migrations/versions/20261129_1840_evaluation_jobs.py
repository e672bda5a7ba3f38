"""jobs that measure an adapter

Revision ID: 0012_evaluation_jobs
Revises: 0011_variants
Create Date: 2026-11-29 18:40:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012_evaluation_jobs"
down_revision: str | Sequence[str] | None = "0011_variants"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Plain ALTER TABLE on SQLite too, where a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    kind = sa.String(length=32)
    op.add_column("jobs", sa.Column("kind", kind, server_default="training", nullable=False))
    op.add_column("jobs", sa.Column("adapter_id", sa.String(length=40), nullable=True))
    op.add_column("evaluations", sa.Column("summary", json, nullable=True))


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM jobs WHERE kind = 'evaluation'"))  # nobody would know what they are
    op.drop_column("evaluations", "summary")
    op.drop_column("jobs", "adapter_id")
    op.drop_column("jobs", "kind")
