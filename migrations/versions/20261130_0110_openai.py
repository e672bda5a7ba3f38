"""uploaded files

Revision ID: 0017_openai
Revises: 0016_parents
Create Date: 2026-11-30 01:10:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017_openai"
down_revision: str | Sequence[str] | None = "0016_parents"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    status = sa.Enum("ready", "deleted", name="status", native_enum=False, create_constraint=True, length=32)
    op.create_table(
        "uploaded_files",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("fact_set_id", sa.String(length=40), nullable=False),
        sa.Column("status", status, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["fact_set_id"], ["fact_sets.id"], name=op.f("fk_uploaded_files_fact_set_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_uploaded_files_project_id")),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_uploaded_files_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploaded_files")),
    )
    op.create_index(op.f("ix_uploaded_files_project_id_id"), "uploaded_files", ["project_id", "id"])
    op.create_index(op.f("ix_uploaded_files_fact_set_id"), "uploaded_files", ["fact_set_id"], unique=True)
    op.create_index(op.f("ix_uploaded_files_sha256"), "uploaded_files", ["sha256"])


def downgrade() -> None:
    op.drop_table("uploaded_files")
