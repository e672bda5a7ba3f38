"""what is referred to is found by an index

Revision ID: 0020_foreign_keys
Revises: 0019_imports
Create Date: 2026-11-30 01:15:00.000000

"""

from collections.abc import Sequence

from alembic import op

revision: str = "0020_foreign_keys"
down_revision: str | Sequence[str] | None = "0019_imports"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_REFERRING = (
    ("evaluations", "job_id"),
    ("jobs", "fact_set_id"),
    ("adapters", "fact_set_id"),
    ("adapter_files", "sha256"),
)
"""Without an index each job, fact set or blob that is deleted costs a look at the whole table."""


def upgrade() -> None:
    for table, column in _REFERRING:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table, column in reversed(_REFERRING):
        op.drop_index(op.f(f"ix_{table}_{column}"), table_name=table)
