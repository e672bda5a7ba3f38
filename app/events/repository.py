"""Rows of `events`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.events.models import Event, Level
from app.ids import EventId, JobId, new_id


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What happened. `api.md` section 5 lists the types."""

    type: str
    message: str
    phase: str | None = None
    level: Level = Level.INFO
    data: dict[str, Any] = field(default_factory=dict)


def append(
    session: Session, job_id: JobId, events: Sequence[NewEvent], *, last_seq: int, attempt: int, now: datetime
) -> None:
    """Add events whose numbers end at `last_seq`.

    The caller has raised the job's `event_seq` by their count in this very transaction, and so
    holds the row: no other writer can take a number in between.
    """
    first = last_seq - len(events) + 1
    rows = [
        {
            "id": EventId(new_id("evt", now=now)),
            "job_id": job_id,
            "seq": first + place,
            "type": event.type,
            "attempt": attempt,
            "phase": event.phase,
            "level": event.level,
            "message": event.message,
            "data": event.data,
            "created_at": now,
        }
        for place, event in enumerate(events)
    ]
    if rows:
        session.execute(insert(Event), rows)


def list_events(session: Session, job_id: JobId, cut: Cut[int]) -> Sequence[Event]:
    """Return events in order."""
    return session.scalars(cut_by(select(Event).where(Event.job_id == job_id), Event.seq, cut)).all()
