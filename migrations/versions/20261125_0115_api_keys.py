"""api keys, quotas and spans of work

Revision ID: 0004_api_keys
Revises: 0003_gates
Create Date: 2026-11-25 01:15:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004_api_keys"
down_revision: str | Sequence[str] | None = "0003_gates"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

QUOTAS = ("quota_running_jobs", "quota_queued_jobs", "quota_gpu_seconds", "quota_stored_bytes")
NOT_DELETED = sa.text("deleted_at IS NULL")
NOT_FINISHED = sa.text("finished_at IS NULL")


def upgrade() -> None:
    for name in QUOTAS:
        op.add_column("projects", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("projects", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "uq_projects_name",
        "projects",
        ["name"],
        unique=True,
        postgresql_where=NOT_DELETED,
        sqlite_where=NOT_DELETED,
    )
    op.create_index(
        "ix_jobs_unfinished",
        "jobs",
        ["project_id", "status"],
        postgresql_where=NOT_FINISHED,
        sqlite_where=NOT_FINISHED,
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_project_id_id"), "api_keys", ["project_id", "id"], unique=False)
    op.create_table(
        "work_spans",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_work_spans_project_id")),
        sa.PrimaryKeyConstraint("job_id", "fence", name=op.f("pk_work_spans")),
    )
    op.create_index(
        op.f("ix_work_spans_project_id_ended_at"), "work_spans", ["project_id", "ended_at"], unique=False
    )


def downgrade() -> None:
    op.drop_table("work_spans")
    op.drop_table("api_keys")
    op.drop_index("ix_jobs_unfinished", table_name="jobs")
    op.drop_index("uq_projects_name", table_name="projects")
    for name in ("deleted_at", *QUOTAS):
        op.drop_column("projects", name)
