"""initial tables

Revision ID: 0001_initial
Revises:
Create Date: 2026-11-24 06:45:23.718291

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001_initial"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# A terminal status is left only by a retry, which raises the fence; fence and attempt never fall.
BROKEN = """(NEW.fence < OLD.fence OR NEW.attempt < OLD.attempt
    OR (OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status
        AND NOT (OLD.status <> 'succeeded' AND NEW.status = 'queued' AND NEW.fence > OLD.fence)))"""

SQLITE_TRIGGER = f"""CREATE TRIGGER jobs_only_forward BEFORE UPDATE ON jobs WHEN {BROKEN}
BEGIN SELECT RAISE(ABORT, 'jobs_only_forward'); END"""

POSTGRES_FUNCTION = """CREATE FUNCTION jobs_only_forward() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'jobs_only_forward' USING ERRCODE = 'check_violation'; END $$"""

POSTGRES_TRIGGER = f"""CREATE TRIGGER jobs_only_forward BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({BROKEN})
EXECUTE FUNCTION jobs_only_forward()"""


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
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
    op.create_table(
        "fact_sets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("ready", "deleted", name="status", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("n_facts", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_fact_sets_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fact_sets")),
    )
    with op.batch_alter_table("fact_sets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fact_sets_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "facts",
        sa.Column("fact_set_id", sa.String(length=40), nullable=False),
        sa.Column("ord", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["fact_set_id"], ["fact_sets.id"], name=op.f("fk_facts_fact_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("fact_set_id", "ord", name=op.f("pk_facts")),
        sa.UniqueConstraint("fact_set_id", "key", name=op.f("uq_facts_fact_set_id_key")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("metadata", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("fact_set_id", sa.String(length=40), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("base_revision", sa.String(), nullable=True),
        sa.Column("method_type", sa.String(), nullable=False),
        sa.Column("method", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("training", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("evaluation", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "pausing",
                "paused",
                "cancelling",
                "succeeded",
                "failed",
                "cancelled",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "phase",
            sa.Enum(
                "preparing",
                "baseline",
                "generating",
                "training",
                "evaluating",
                "packaging",
                name="phase",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("attempt_open", sa.Boolean(), nullable=False),
        sa.Column("attempt_limit", sa.BigInteger(), nullable=False),
        sa.Column("crash_streak", sa.SmallInteger(), nullable=False),
        sa.Column("oom_count", sa.SmallInteger(), nullable=False),
        sa.Column("micro_batch_override", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_mark", sa.BigInteger(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wait_reason", sa.String(), nullable=True),
        sa.Column("min_worker_version", sa.BigInteger(), nullable=False),
        sa.Column("error_category", sa.String(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=True),
        sa.Column("gate_status", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'failed') = (error_code IS NOT NULL)", name=op.f("ck_jobs_error_iff_failed")
        ),
        sa.CheckConstraint(
            "(status IN ('running', 'pausing', 'cancelling')) = (lease_owner IS NOT NULL) AND (status IN ('running', 'pausing', 'cancelling')) = (lease_expires_at IS NOT NULL) AND (status IN ('running', 'pausing', 'cancelling')) = (heartbeat_at IS NOT NULL)",
            name=op.f("ck_jobs_lease_iff_owned"),
        ),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_finished_iff_terminal"),
        ),
        sa.ForeignKeyConstraint(["fact_set_id"], ["fact_sets.id"], name=op.f("fk_jobs_fact_set_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_claim",
            ["queue", sa.text("priority DESC"), "next_run_at", "id"],
            postgresql_where=sa.text("status = 'queued'"),
            sqlite_where=sa.text("status = 'queued'"),
        )
        batch_op.create_index(
            "ix_jobs_owned",
            ["id"],
            unique=False,
            postgresql_where=sa.text("status IN ('running', 'pausing', 'cancelling')"),
            sqlite_where=sa.text("status IN ('running', 'pausing', 'cancelling')"),
        )
        batch_op.create_index(batch_op.f("ix_jobs_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "adapters",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("fact_set_id", sa.String(length=40), nullable=False),
        sa.Column("variant", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "ready",
                "quarantined",
                "deleted",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("base_revision", sa.String(), nullable=False),
        sa.Column("method_type", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["fact_set_id"], ["fact_sets.id"], name=op.f("fk_adapters_fact_set_id")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_adapters_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_adapters_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapters")),
        sa.UniqueConstraint("job_id", "variant", name=op.f("uq_adapters_job_id_variant")),
    )
    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adapters_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column(
            "phase",
            sa.Enum(
                "preparing",
                "baseline",
                "generating",
                "training",
                "evaluating",
                "packaging",
                name="phase",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("input_sha256", sa.String(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_checkpoints_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint(
            "job_id", "phase", "fence", "step", name=op.f("uq_checkpoints_job_id_phase_fence_step")
        ),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(), nullable=True),
        sa.Column(
            "level",
            sa.Enum(
                "info", "warning", "error", name="level", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("data", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("job_id", "seq", name=op.f("uq_events_job_id_seq")),
    )
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_attempts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", name=op.f("pk_job_attempts")),
    )
    op.create_table(
        "job_phases",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column(
            "phase",
            sa.Enum(
                "preparing",
                "baseline",
                "generating",
                "training",
                "evaluating",
                "packaging",
                name="phase",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("eta_seconds", sa.Double(), nullable=True),
        sa.Column("input_sha256", sa.String(), nullable=True),
        sa.Column("output_sha256", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_phases_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "phase", name=op.f("pk_job_phases")),
    )
    op.create_table(
        "supervision",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("fact_key", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ord", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_supervision_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "fact_key", "generation", name=op.f("pk_supervision")),
    )
    with op.batch_alter_table("supervision", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_supervision_job_id_ord"), ["job_id", "ord"], unique=False)

    op.create_table(
        "adapter_files",
        sa.Column("adapter_id", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name=op.f("fk_adapter_files_adapter_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_adapter_files_sha256")),
        sa.PrimaryKeyConstraint("adapter_id", "path", name=op.f("pk_adapter_files")),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("adapter_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name=op.f("fk_evaluations_adapter_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_evaluations_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_evaluations_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "fact_results",
        sa.Column("evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("ord", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_key", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_fact_results_evaluation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "ord", name=op.f("pk_fact_results")),
        sa.UniqueConstraint("evaluation_id", "fact_key", name=op.f("uq_fact_results_evaluation_id_fact_key")),
    )
    op.create_table(
        "scores",
        sa.Column("evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.Double(), nullable=True),
        sa.Column("adapter", sa.Double(), nullable=True),
        sa.Column("difference", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name=op.f("fk_scores_evaluation_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "suite", "metric", name=op.f("pk_scores")),
    )

    projects = sa.table("projects", sa.column("id"), sa.column("name"), sa.column("created_at"))
    op.execute(
        projects.insert().values(id="prj_default", name="default", created_at=sa.func.current_timestamp())
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(SQLITE_TRIGGER)
    else:
        op.execute(POSTGRES_FUNCTION)
        op.execute(POSTGRES_TRIGGER)
        op.execute("ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)")


def downgrade() -> None:
    op.drop_table("scores")
    op.drop_table("fact_results")
    op.drop_table("evaluations")
    op.drop_table("adapter_files")
    with op.batch_alter_table("supervision", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_supervision_job_id_ord"))

    op.drop_table("supervision")
    op.drop_table("job_phases")
    op.drop_table("job_attempts")
    op.drop_table("events")
    op.drop_table("checkpoints")
    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_adapters_project_id_id"))

    op.drop_table("adapters")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_project_id_id"))
        batch_op.drop_index("ix_jobs_claim")
        batch_op.drop_index(
            "ix_jobs_owned",
            postgresql_where=sa.text("status IN ('running', 'pausing', 'cancelling')"),
            sqlite_where=sa.text("status IN ('running', 'pausing', 'cancelling')"),
        )

    op.drop_table("jobs")
    op.drop_table("facts")
    with op.batch_alter_table("fact_sets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fact_sets_project_id_id"))

    op.drop_table("fact_sets")
    op.drop_table("workers")
    op.drop_table("projects")
    op.drop_table("blobs")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION jobs_only_forward()")
