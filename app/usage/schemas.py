"""What clients receive about what a project has used, and what it may use."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.ids import ProjectId
from app.jobs.states import JobStatus


class QuotaRead(BaseModel):
    used: float
    limit: Annotated[int | None, Field(description="Null: there is none.")]


class QuotasRead(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "project_id": "prj_default",
                    "running_jobs": {"used": 1, "limit": 2},
                    "queued_jobs": {"used": 4, "limit": 100},
                    "gpu_seconds": {"used": 1800.5, "limit": 36000},
                    "stored_bytes": {"used": 19000000, "limit": None},
                    "day_ends_at": "2026-11-25T00:00:00Z",
                    "requests_per_minute": 6000,
                }
            ]
        }
    )

    project_id: ProjectId
    running_jobs: Annotated[QuotaRead, Field(description="At its limit, jobs wait.")]
    queued_jobs: Annotated[QuotaRead, Field(description="Jobs that wait or are paused.")]
    gpu_seconds: Annotated[QuotaRead, Field(description="Time that jobs ran since midnight UTC.")]
    stored_bytes: Annotated[QuotaRead, Field(description="Size of all adapters and uploaded files.")]
    day_ends_at: Annotated[datetime, Field(description="When `gpu_seconds` begins anew.")]
    requests_per_minute: Annotated[int | None, Field(description="For each key. Null: any number.")]


class DayRead(BaseModel):
    day: Annotated[date, Field(description="In UTC.")]
    gpu_seconds: float


class UsageRead(BaseModel):
    project_id: ProjectId
    days: Annotated[list[DayRead], Field(description="Oldest first; the last one is today.")]
    gpu_seconds: Annotated[float, Field(description="Of all these days.")]
    jobs: Annotated[dict[JobStatus, int], Field(description="Jobs that there are, by status.")]
    fact_sets: int
    facts: int
    adapters: int
    stored_bytes: Annotated[int, Field(description="Size of all adapters and uploaded files.")]
