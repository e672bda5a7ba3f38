"""Rows of `job_phases`: how far a phase has come, and what it made."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.ids import JobId
from app.jobs.leases import Claim
from app.jobs.models import JobPhase, JobResult
from app.jobs.states import Phase
from worker import peaks
from worker.upsert import upsert

WINDOW: Final = 30.0
"""Seconds: a rate is measured over the last one to two of them."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Progress of a phase.

    Its rate is that of late, so that units which were there from before, or found in a cache, promise
    nothing about those that are to come. It begins with the unit `first`, at which this process began.
    """

    total: int = 0
    unit: str = ""
    done: int = 0
    first: int = 0
    began_at: float = field(default_factory=time.monotonic)
    marks: tuple[tuple[float, int], ...] = ()
    """When how much was done: the older mark, since which the rate is measured, and the newer."""

    def moved(self, done: int, total: int, unit: str, *, now: float | None = None) -> Self:
        now = time.monotonic() if now is None else now
        marks = self.marks or ((self.began_at, self.first),) * 2
        if now - marks[-1][0] >= WINDOW:
            marks = (marks[-1], (now, done))
        return replace(self, done=done, total=total, unit=unit, marks=marks)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_at

    def columns(self, *, overall: bool = False, now: float | None = None) -> dict[str, Any]:
        """Return what the row says, with units per second and the seconds left if they are known.

        Args:
            overall: Whether the rate is that of the whole phase, as far as this process made it.
        """
        now = time.monotonic() if now is None else now
        since, before = self.marks[0] if self.marks and not overall else (self.began_at, self.first)
        moved, seconds = self.done - before, now - since
        rate = moved / seconds if moved > 0 and seconds > 0 else None
        eta = max(0, self.total - self.done) / rate if rate else None
        return {
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "rate": rate,
            "eta_seconds": eta,
        }


def start(
    session: Session, claim: Claim, phase: Phase, pace: Pace, input_sha256: str | None, *, now: datetime
) -> None:
    """Begin a phase; what an earlier attempt noted about it is overwritten."""
    peaks.begin()
    row = {
        "job_id": claim.job_id,
        "phase": phase,
        "attempt": claim.attempt,
        "fence": claim.fence,
        "input_sha256": input_sha256,
        "output_sha256": None,
        "seconds": None,
        "host_bytes": None,
        "device_bytes": None,
        "done_before": pace.first,
        "started_at": now,
        "updated_at": now,
        "finished_at": None,
        **pace.columns(),
    }
    upsert(session, JobPhase, [row], update=[name for name in row if name not in {"job_id", "phase"}])


def move(session: Session, claim: Claim, phase: Phase, pace: Pace, *, now: datetime) -> None:
    _update(session, claim, phase, {"updated_at": now, **pace.columns()})


def finish(
    session: Session,
    claim: Claim,
    phase: Phase,
    pace: Pace,
    output_sha256: str | None,
    *,
    measured: bool = True,
    now: datetime,
) -> None:
    """End a phase. What it took is kept for forecasts if it is `measured`: all was done as it always is."""
    ended: dict[str, Any] = {"updated_at": now, "finished_at": now, "output_sha256": output_sha256}
    if measured:
        taken = peaks.peak()
        ended |= {"host_bytes": taken.host, "device_bytes": taken.device}
        ended |= {"seconds": round(pace.seconds, 3)}
    _update(session, claim, phase, pace.columns(overall=True) | ended)


def finished_output(session: Session, job_id: JobId, phase: Phase, input_sha256: str) -> str | None:
    """Return the digest of the phase's result, if it was finished with this input."""
    return session.scalars(
        select(JobPhase.output_sha256).where(
            JobPhase.job_id == job_id,
            JobPhase.phase == phase,
            JobPhase.input_sha256 == input_sha256,
            JobPhase.finished_at.is_not(None),
        )
    ).one_or_none()


def keep(
    session: Session,
    job_id: JobId,
    phase: Phase,
    variant: int,
    input_sha256: str,
    files: Mapping[str, str],
    *,
    now: datetime,
) -> None:
    """Note what a phase made for a variant, in place of what was noted before."""
    mine = (JobResult.job_id == job_id, JobResult.phase == phase, JobResult.variant == variant)
    session.execute(delete(JobResult).where(*mine))
    owner: dict[str, Any] = {"job_id": job_id, "phase": phase, "variant": variant}
    rows = [{"name": name, "sha256": sha256, **owner} for name, sha256 in files.items()]
    session.add_all([JobResult(input_sha256=input_sha256, created_at=now, **row) for row in rows])
    session.flush()


def kept(session: Session, job_id: JobId, phase: Phase, variant: int, input_sha256: str) -> dict[str, str]:
    """Return names and digests of what a phase made for a variant from this input."""
    statement = select(JobResult.name, JobResult.sha256).where(
        JobResult.job_id == job_id,
        JobResult.phase == phase,
        JobResult.variant == variant,
        JobResult.input_sha256 == input_sha256,
    )
    return {name: sha256 for name, sha256 in session.execute(statement)}  # noqa: C416  rows are no pairs


def _update(session: Session, claim: Claim, phase: Phase, values: dict[str, Any]) -> None:
    mine = (JobPhase.job_id == claim.job_id, JobPhase.phase == phase)
    session.execute(update(JobPhase).where(*mine).values(values))
