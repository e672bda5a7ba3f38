"""variants of a job

Revision ID: 0011_variants
Revises: 0010_forecasts
Create Date: 2026-11-29 17:40:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011_variants"
down_revision: str | Sequence[str] | None = "0010_forecasts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_PHASES = ("preparing", "baseline", "generating", "training", "evaluating", "packaging")


# Plain ALTER TABLE on SQLite too, where a table that is copied in a batch loses its triggers;
# `supervision` and `checkpoints` have none.
def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("jobs", sa.Column("frontier", json, nullable=True))
    op.add_column("adapters", sa.Column("label", sa.String(), nullable=True))
    op.add_column(
        "adapters", sa.Column("recommended", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.create_index(op.f("ix_evaluations_adapter_id"), "evaluations", ["adapter_id"])
    with op.batch_alter_table("supervision") as batch:
        batch.add_column(sa.Column("variant", sa.BigInteger(), server_default="0", nullable=False))
        batch.drop_index(op.f("ix_supervision_job_id_ord"))
        batch.drop_constraint(op.f("pk_supervision"), type_="primary")
        batch.create_primary_key(op.f("pk_supervision"), ["job_id", "variant", "fact_key", "generation"])
        batch.create_index(op.f("ix_supervision_job_id_variant_ord"), ["job_id", "variant", "ord"])
    with op.batch_alter_table("checkpoints") as batch:
        batch.add_column(sa.Column("variant", sa.BigInteger(), server_default="0", nullable=False))
        batch.drop_constraint(op.f("uq_checkpoints_job_id_phase_fence_step"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_checkpoints_job_id_phase_variant_fence_step"),
            ["job_id", "phase", "variant", "fence", "step"],
        )
    op.create_table(
        "job_results",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column(
            "phase",
            sa.Enum(*_PHASES, name="phase", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("variant", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("input_sha256", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_results_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "phase", "variant", "name", name=op.f("pk_job_results")),
    )
    op.create_index(op.f("ix_job_results_sha256"), "job_results", ["sha256"])


def downgrade() -> None:
    op.drop_table("job_results")
    for table in ("checkpoints", "supervision"):
        op.execute(sa.text(f"DELETE FROM {table} WHERE variant > 0"))  # noqa: S608  our own names
    with op.batch_alter_table("checkpoints") as batch:
        batch.drop_constraint(op.f("uq_checkpoints_job_id_phase_variant_fence_step"), type_="unique")
        batch.drop_column("variant")
        batch.create_unique_constraint(
            op.f("uq_checkpoints_job_id_phase_fence_step"), ["job_id", "phase", "fence", "step"]
        )
    with op.batch_alter_table("supervision") as batch:
        batch.drop_index(op.f("ix_supervision_job_id_variant_ord"))
        batch.drop_constraint(op.f("pk_supervision"), type_="primary")
        batch.drop_column("variant")
        batch.create_primary_key(op.f("pk_supervision"), ["job_id", "fact_key", "generation"])
        batch.create_index(op.f("ix_supervision_job_id_ord"), ["job_id", "ord"])
    op.drop_index(op.f("ix_evaluations_adapter_id"), "evaluations")
    op.drop_column("adapters", "recommended")
    op.drop_column("adapters", "label")
    op.drop_column("jobs", "frontier")
