"""score intervals

Revision ID: 0002_score_intervals
Revises: 0001_initial
Create Date: 2026-11-24 21:40:00.000000

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002_score_intervals"
down_revision: str | Sequence[str] | None = "0001_initial"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FIGURES = ("base_low", "base_high", "adapter_low", "adapter_high", "p_value")
COUNTS = ("gained", "lost")


def upgrade() -> None:
    for name in FIGURES:
        op.add_column("scores", sa.Column(name, sa.Double(), nullable=True))
    for name in COUNTS:
        op.add_column("scores", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column(
        "scores", sa.Column("lower_is_better", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.execute("UPDATE scores SET lower_is_better = true WHERE metric = 'nats_per_token'")


def downgrade() -> None:
    for name in ("lower_is_better", *COUNTS, *FIGURES):
        op.drop_column("scores", name)
