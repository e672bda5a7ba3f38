"""forecasts

Revision ID: 0010_forecasts
Revises: 0009_webhooks
Create Date: 2026-11-29 17:40:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010_forecasts"
down_revision: str | Sequence[str] | None = "0009_webhooks"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SUCCEEDED = sa.text("status = 'succeeded' AND device IS NOT NULL")


# Plain ALTER TABLE on SQLite too: a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("jobs", sa.Column("forecast", json, nullable=True))
    op.add_column("jobs", sa.Column("device", sa.String(), nullable=True))
    op.add_column("job_phases", sa.Column("seconds", sa.Double(), nullable=True))
    op.add_column(
        "job_phases", sa.Column("done_before", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    )
    op.create_index(
        "ix_jobs_history",
        "jobs",
        ["base_model", "id"],
        postgresql_where=_SUCCEEDED,
        sqlite_where=_SUCCEEDED,
    )
    op.create_index(op.f("ix_evaluations_project_id_id"), "evaluations", ["project_id", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_evaluations_project_id_id"), table_name="evaluations")
    op.drop_index("ix_jobs_history", table_name="jobs", postgresql_where=_SUCCEEDED, sqlite_where=_SUCCEEDED)
    op.drop_column("job_phases", "done_before")
    op.drop_column("job_phases", "seconds")
    op.drop_column("jobs", "device")
    op.drop_column("jobs", "forecast")
