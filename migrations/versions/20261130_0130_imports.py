"""adapters that were made elsewhere, of facts that nobody here knows

Revision ID: 0019_imports
Revises: 0018_exports
Create Date: 2026-11-30 01:30:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019_imports"
down_revision: str | Sequence[str] | None = "0018_exports"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FREE = "fact_set_id VARCHAR(40)"
_BOUND = "fact_set_id VARCHAR(40) NOT NULL"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rewrite(_BOUND, _FREE)
    else:
        op.alter_column("adapters", "fact_set_id", existing_type=sa.String(length=40), nullable=True)


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM adapters WHERE fact_set_id IS NULL"))  # there was no such thing
    if op.get_bind().dialect.name == "sqlite":
        _rewrite(_FREE, _BOUND)
    else:
        op.alter_column("adapters", "fact_set_id", existing_type=sa.String(length=40), nullable=False)


def _rewrite(before: str, after: str) -> None:
    """Change what SQLite has written down of the table, as its documentation of ALTER TABLE shows it.

    A copy would take the files of all adapters along: they are deleted with the table that is dropped.
    """
    connection = op.get_bind()
    read = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'adapters'")
    write = sa.text("UPDATE sqlite_master SET sql = :new WHERE type = 'table' AND name = 'adapters'")
    text = connection.scalar(read)
    if text.count(before) != 1:
        raise RuntimeError(f"the table adapters is not as it was made: {text}")
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(write, {"new": text.replace(before, after)})
    connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
