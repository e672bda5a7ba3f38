"""Rows of `workers`: who is there to run jobs. One write for each heartbeat of a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.base import JsonList
from app.db.lists import Cut, cut_by
from app.ids import JobId, WorkerId
from app.jobs.models import Worker

FORGET_AFTER: Final = timedelta(hours=1)
"""How long a worker that is lost is shown."""


class WorkerStatus(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Introduction:
    """What does not change while a worker lives."""

    id: WorkerId
    host: str
    pid: int
    version: int
    release: str
    device: str
    capacity: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says of itself with each heartbeat."""

    job_id: JobId | None = None
    gpus: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def check_in(session: Session, who: Introduction, report: Report, *, now: datetime) -> None:
    """Note that a worker lives. Its row is made anew if it was forgotten."""
    gpus: JsonList = [dict(gpu) for gpu in report.gpus]
    said = {"job_id": report.job_id, "gpus": gpus, "heartbeat_at": now}
    changed = session.execute(
        update(Worker).where(Worker.id == who.id).values(**said).returning(Worker.id)
    ).one_or_none()
    if changed is None:
        session.add(
            Worker(
                id=who.id,
                host=who.host,
                pid=who.pid,
                version=who.version,
                release=who.release,
                device=who.device,
                capacity=who.capacity,
                started_at=now,
                **said,
            )
        )
        session.flush()


def check_out(session: Session, worker_id: WorkerId) -> None:
    """Forget a worker that ends."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def forget_lost(session: Session, *, now: datetime, lease: timedelta) -> int:
    """Forget workers that were lost long ago. Returns how many."""
    gone = Worker.heartbeat_at < now - lease - FORGET_AFTER
    return len(session.scalars(delete(Worker).where(gone).returning(Worker.id)).all())


def list_workers(session: Session, cut: Cut[str]) -> Sequence[Worker]:
    """Return workers, by the time they began."""
    return session.scalars(cut_by(select(Worker), Worker.id, cut)).all()


def status_of(worker: Worker, *, now: datetime, lease: timedelta) -> WorkerStatus:
    if worker.heartbeat_at < now - lease:
        return WorkerStatus.LOST
    return WorkerStatus.IDLE if worker.job_id is None else WorkerStatus.BUSY
