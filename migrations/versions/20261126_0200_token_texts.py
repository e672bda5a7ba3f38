"""texts of tokens

Revision ID: 0007_token_texts
Revises: 0006_job_metrics
Create Date: 2026-11-26 02:00:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007_token_texts"
down_revision: str | Sequence[str] | None = "0006_job_metrics"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    texts = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    op.add_column("supervision", sa.Column("pieces", texts, nullable=True))


def downgrade() -> None:
    op.drop_column("supervision", "pieces")
