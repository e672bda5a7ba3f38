"""jobs that start from an adapter

Revision ID: 0016_parents
Revises: 0015_instance_secrets
Create Date: 2026-11-30 01:00:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016_parents"
down_revision: str | Sequence[str] | None = "0015_instance_secrets"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Plain ALTER TABLE on SQLite too, where a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent_adapter_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("parent_fact_set_id", sa.String(length=40), nullable=True))
    op.add_column("adapters", sa.Column("parent_adapter_id", sa.String(length=40), nullable=True))
    op.create_index("ix_adapters_parent_adapter_id", "adapters", ["parent_adapter_id"])


def downgrade() -> None:
    op.drop_index("ix_adapters_parent_adapter_id", table_name="adapters")
    op.drop_column("adapters", "parent_adapter_id")
    op.drop_column("jobs", "parent_fact_set_id")
    op.drop_column("jobs", "parent_adapter_id")
