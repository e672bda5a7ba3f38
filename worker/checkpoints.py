"""Rows of `checkpoints`. What is not registered here does not exist for a resume."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.ids import CheckpointId, JobId, new_id
from app.jobs.leases import Claim
from app.jobs.models import Checkpoint
from app.jobs.states import Phase

KEPT: Final = 2
"""Checkpoints of a phase that stay registered: the newest, and one to fall back on."""


def newest_first(
    session: Session, job_id: JobId, phase: Phase, input_sha256: str | None = None
) -> Sequence[Checkpoint]:
    """Return a phase's checkpoints. Fence, variant and step decide the order, so no clock can change it.

    Variants are trained one after another within a fence.
    """
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.phase == phase)
    if input_sha256 is not None:
        statement = statement.where(Checkpoint.input_sha256 == input_sha256)
    return session.scalars(
        statement.order_by(Checkpoint.fence.desc(), Checkpoint.variant.desc(), Checkpoint.step.desc())
    ).all()


def register(session: Session, claim: Claim, row: dict[str, Any], *, now: datetime) -> list[str]:
    """Insert a checkpoint and forget those beyond the newest two. Returns where the forgotten lie.

    Registering the same step again, after a COMMIT whose answer was lost, changes nothing.
    """
    existing = newest_first(session, claim.job_id, row["phase"])
    known = {(old.fence, old.variant, old.step) for old in existing}
    if (claim.fence, row["variant"], row["step"]) not in known:
        session.add(
            Checkpoint(
                id=CheckpointId(new_id("ckpt", now=now)),
                job_id=claim.job_id,
                fence=claim.fence,
                created_at=now,
                **row,
            )
        )
        session.flush()
    dropped = newest_first(session, claim.job_id, row["phase"])[KEPT:]
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_([old.id for old in dropped])))
    return [old.uri for old in dropped]
