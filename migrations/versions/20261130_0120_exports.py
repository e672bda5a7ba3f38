"""exports of adapters

Revision ID: 0018_exports
Revises: 0017_openai
Create Date: 2026-11-30 01:20:00.000000

"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0018_exports"
down_revision: str | Sequence[str] | None = "0017_openai"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


# Plain ALTER TABLE on SQLite too, where a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("jobs", sa.Column("export", json, nullable=True))
    _create_exports(json)
    op.create_table(
        "export_files",
        sa.Column("export_id", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"], ["exports.id"], name=op.f("fk_export_files_export_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_export_files_sha256")),
        sa.PrimaryKeyConstraint("export_id", "path", name=op.f("pk_export_files")),
    )
    op.create_index(op.f("ix_export_files_sha256"), "export_files", ["sha256"])


def _create_exports(json: Any) -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("adapter_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("format", enum("format", ("merged", "gguf", "gguf_lora")), nullable=False),
        sa.Column("status", enum("status", ("ready", "unusable")), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("parity", json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_exports_project_id")),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name=op.f("fk_exports_adapter_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_exports_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index(op.f("ix_exports_adapter_id_id"), "exports", ["adapter_id", "id"])
    op.create_index(op.f("ix_exports_project_id"), "exports", ["project_id"])
    op.create_index(op.f("ix_exports_job_id"), "exports", ["job_id"])


def downgrade() -> None:
    op.drop_table("export_files")
    op.drop_table("exports")
    op.execute(sa.text("DELETE FROM jobs WHERE kind = 'export'"))  # nobody would know what they are
    op.drop_column("jobs", "export")
