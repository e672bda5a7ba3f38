"""the memory that phases took

Revision ID: 0013_measured_memory
Revises: 0012_evaluation_jobs
Create Date: 2026-11-30 00:40:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013_measured_memory"
down_revision: str | Sequence[str] | None = "0012_evaluation_jobs"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Plain ALTER TABLE on SQLite too, where a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    op.add_column("job_phases", sa.Column("host_bytes", sa.BigInteger(), nullable=True))
    op.add_column("job_phases", sa.Column("device_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("job_phases", "device_bytes")
    op.drop_column("job_phases", "host_bytes")
