"""gates

Revision ID: 0003_gates
Revises: 0002_score_intervals
Create Date: 2026-11-24 22:00:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003_gates"
down_revision: str | Sequence[str] | None = "0002_score_intervals"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Plain ALTER TABLE on SQLite too: a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("jobs", sa.Column("gate", json, nullable=True))
    op.add_column("adapters", sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("adapters", sa.Column("release_reason", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("adapters", "release_reason")
    op.drop_column("adapters", "released_at")
    op.drop_column("jobs", "gate")
