"""workers and measures

Revision ID: 0008_workers_and_measures
Revises: 0007_token_texts
Create Date: 2026-11-29 17:30:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008_workers_and_measures"
down_revision: str | Sequence[str] | None = "0007_token_texts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FINISHED = sa.text("finished_at IS NOT NULL")

# Jobs that wait may want several GPUs.
WANTED = {
    "sqlite": "UPDATE jobs SET gpus = COALESCE(json_extract(training, '$.processes'), 1) WHERE finished_at IS NULL",
    "postgresql": "UPDATE jobs SET gpus = COALESCE((training ->> 'processes')::int, 1) WHERE finished_at IS NULL",
}


# Plain ALTER TABLE on SQLite too: a table that is copied in a batch loses its triggers.
def upgrade() -> None:
    op.add_column("jobs", sa.Column("gpus", sa.SmallInteger(), nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("traceparent", sa.String(), nullable=True))
    op.execute(WANTED[op.get_bind().dialect.name])
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["status", "finished_at"],
        postgresql_where=FINISHED,
        sqlite_where=FINISHED,
    )
    op.create_index(
        "ix_job_phases_finished",
        "job_phases",
        ["finished_at"],
        postgresql_where=FINISHED,
        sqlite_where=FINISHED,
    )
    op.add_column("work_spans", sa.Column("outcome", sa.String(), nullable=True))
    op.add_column("work_spans", sa.Column("lost", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(op.f("ix_work_spans_outcome_lost"), "work_spans", ["outcome", "lost"])
    # Nobody has written it so far.
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("capacity", sa.SmallInteger(), nullable=False),
        sa.Column("gpus", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.drop_index(op.f("ix_work_spans_outcome_lost"), table_name="work_spans")
    op.drop_column("work_spans", "lost")
    op.drop_column("work_spans", "outcome")
    op.drop_index("ix_job_phases_finished", table_name="job_phases")
    op.drop_index("ix_jobs_finished", table_name="jobs")
    op.drop_column("jobs", "traceparent")
    op.drop_column("jobs", "gpus")
