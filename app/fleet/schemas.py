"""What clients receive about what waits, what runs, and who is there to run it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.ids import JobId, ProjectId, WorkerId
from app.jobs.models import Job, Worker
from app.jobs.states import JobStatus, Phase
from app.jobs.workers import WorkerStatus

_ID = "019ab3c4d5e67f8091a2b3c4d5e6f708"


class GpuRead(BaseModel):
    index: int
    name: str | None = None
    memory_bytes: int | None = None
    memory_used_bytes: Annotated[int | None, Field(description="By whatever runs on it.")] = None


class WorkerRead(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": f"wrk_{_ID}",
                    "status": "busy",
                    "device": "cuda",
                    "capacity": 1,
                    "gpus": [
                        {
                            "index": 0,
                            "name": "NVIDIA H200",
                            "memory_bytes": 150754820096,
                            "memory_used_bytes": 21474836480,
                        }
                    ],
                    "release": "0.1.0",
                    "job_id": f"job_{_ID}",
                    "host": "gpu-1",
                    "pid": 4711,
                    "started_at": "2026-11-24T10:00:00Z",
                    "last_seen_at": "2026-11-24T10:05:00Z",
                }
            ]
        }
    )

    id: WorkerId
    status: Annotated[WorkerStatus, Field(description="`lost`: silent for longer than a lease.")]
    device: Annotated[str, Field(description="`cuda` or `cpu`, or as the worker was told.")]
    capacity: Annotated[int, Field(description="GPUs that a job may get from it. 0: it has none.")]
    gpus: list[GpuRead]
    release: Annotated[str, Field(description="Version of the code that it runs.")]
    job_id: Annotated[JobId | None, Field(description="The job in hand, if it is one of your project.")]
    host: Annotated[str | None, Field(description="For operators alone.")]
    pid: Annotated[int | None, Field(description="For operators alone.")]
    started_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, worker: Worker, status: WorkerStatus, *, shows_job: bool, shows_host: bool) -> Self:
        """Show a worker, as far as it is the reader's business."""
        gpus: Sequence[dict[str, Any]] = worker.gpus
        return cls(
            id=worker.id,
            status=status,
            device=worker.device,
            capacity=worker.capacity,
            gpus=[GpuRead.model_validate(gpu) for gpu in gpus],
            release=worker.release,
            job_id=worker.job_id if shows_job else None,
            host=worker.host if shows_host else None,
            pid=worker.pid if shows_host else None,
            started_at=worker.started_at,
            last_seen_at=worker.heartbeat_at,
        )


class RunningJob(BaseModel):
    id: JobId
    name: str | None
    status: JobStatus
    phase: Phase | None
    priority: int
    attempt: int
    started_at: datetime | None


class WaitingJob(BaseModel):
    id: JobId
    name: str | None
    priority: int
    position: Annotated[int | None, Field(description="Among all that wait; 1 is next. Null beyond 1000.")]
    expected_start_at: Annotated[
        datetime | None,
        Field(
            description="If every job takes as long as the middle one of those that succeeded last. Null: "
            "there is no worker, nothing to go by, or a quota is in the way."
        ),
    ]
    due_at: Annotated[datetime, Field(description="It is not begun before.")]
    wait_reason: str | None
    created_at: datetime

    @classmethod
    def of(cls, job: Job, position: int | None, expected_start_at: datetime | None) -> Self:
        return cls(
            id=job.id,
            name=job.name,
            priority=job.priority,
            position=position,
            expected_start_at=expected_start_at,
            due_at=job.next_run_at,
            wait_reason=job.wait_reason,
            created_at=job.created_at,
        )


class WorkerCounts(BaseModel):
    idle: int
    busy: int
    lost: int


class ProjectQueue(BaseModel):
    project_id: ProjectId
    queued: int
    paused: int
    running: int


class QueueRead(BaseModel):
    """What waits and runs of one's project, each as many as asked for, and all that is there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "project_id": "prj_default",
                    "queued": 1,
                    "paused": 0,
                    "running": 1,
                    "running_jobs": [
                        {
                            "id": f"job_{_ID}",
                            "name": "rivers",
                            "status": "running",
                            "phase": "training",
                            "priority": 0,
                            "attempt": 1,
                            "started_at": "2026-11-24T10:00:00Z",
                        }
                    ],
                    "waiting_jobs": [
                        {
                            "id": f"job_{_ID}",
                            "name": None,
                            "priority": 0,
                            "position": 1,
                            "expected_start_at": "2026-11-24T10:20:00Z",
                            "due_at": "2026-11-24T10:01:00Z",
                            "wait_reason": None,
                            "created_at": "2026-11-24T10:01:00Z",
                        }
                    ],
                    "workers": {"idle": 0, "busy": 1, "lost": 0},
                    "projects": None,
                }
            ]
        }
    )

    project_id: ProjectId
    queued: int
    paused: int
    running: Annotated[int, Field(description="Jobs that a worker has.")]
    running_jobs: Annotated[list[RunningJob], Field(description="Oldest first.")]
    waiting_jobs: Annotated[list[WaitingJob], Field(description="Next first. Paused ones do not wait.")]
    workers: WorkerCounts
    projects: Annotated[
        list[ProjectQueue] | None,
        Field(description="Every project with unfinished jobs: for operators alone."),
    ]
