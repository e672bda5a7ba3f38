"""What clients receive that watch a job."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.events.models import Level
from app.ids import JobId
from app.jobs.models import JobPhase
from app.jobs.schemas import PhaseProgress
from app.jobs.states import Phase


class ProgressEvent(BaseModel):
    """An event that is not stored: streams tell of it, and it has neither `id` nor `seq`."""

    type: Literal["job.progress"] = "job.progress"
    job_id: JobId
    attempt: int
    phase: Phase
    level: Literal[Level.INFO] = Level.INFO
    created_at: datetime
    message: str
    data: PhaseProgress

    @classmethod
    def of(cls, row: JobPhase) -> Self:
        return cls(
            job_id=row.job_id,
            attempt=row.attempt,
            phase=row.phase,
            created_at=row.updated_at,
            message=f"{row.phase}: {row.done} of {row.total} {row.unit}",
            data=PhaseProgress.of(row, runs=True),
        )


class LogLine(BaseModel):
    """What the process of an attempt printed. Secrets are blotted out and paths are cut short."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {"position": 10000000042, "attempt": 1, "text": "2026-11-24 10:00:02 INFO mixsd loaded"}
            ]
        },
    )

    position: Annotated[int, Field(description="Rises from line to line.")]
    attempt: Annotated[int | None, Field(description="Null if that is not known.")]
    text: str
