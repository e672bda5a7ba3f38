"""The life of a job. Pure: no database, no HTTP."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What comes of a job: adapters, or a measurement or an export of one that is there."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    EXPORT = "export"


class Phase(StrEnum):
    """What a running job does."""

    PREPARING = "preparing"
    BASELINE = "baseline"
    GENERATING = "generating"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PACKAGING = "packaging"


class Action(StrEnum):
    """What a user may ask of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    DELETE = "delete"


OWNED: Final = frozenset({JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING})
"""A worker holds the job's lease: exactly these have an owner."""

TERMINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

TRANSITIONS: Final[Mapping[JobStatus, frozenset[JobStatus]]] = MappingProxyType(
    {
        JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}),
        JobStatus.RUNNING: frozenset(
            {
                JobStatus.SUCCEEDED,
                JobStatus.FAILED,
                JobStatus.PAUSING,
                JobStatus.CANCELLING,
                JobStatus.QUEUED,
            }
        ),
        # A pause that comes after the last safe point is overtaken by the end of the job.
        JobStatus.PAUSING: frozenset(
            {JobStatus.PAUSED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLING}
        ),
        JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
        # The user was told that it is being cancelled: nothing else may come of it.
        JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED}),
        JobStatus.SUCCEEDED: frozenset(),
        JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
        JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
    }
)
"""Where each status may lead. The statements of `app.jobs.leases` and `repository` keep to it."""

ACTIONS: Final[Mapping[Action, Mapping[JobStatus, JobStatus]]] = MappingProxyType(
    {
        Action.CANCEL: MappingProxyType(
            {
                JobStatus.QUEUED: JobStatus.CANCELLED,
                JobStatus.PAUSED: JobStatus.CANCELLED,
                JobStatus.RUNNING: JobStatus.CANCELLING,
                JobStatus.PAUSING: JobStatus.CANCELLING,
            }
        ),
        Action.PAUSE: MappingProxyType(
            {JobStatus.QUEUED: JobStatus.PAUSED, JobStatus.RUNNING: JobStatus.PAUSING}
        ),
        Action.RESUME: MappingProxyType({JobStatus.PAUSED: JobStatus.QUEUED}),
        Action.RETRY: MappingProxyType(
            {JobStatus.FAILED: JobStatus.QUEUED, JobStatus.CANCELLED: JobStatus.QUEUED}
        ),
    }
)
"""Where each action takes a job, by its status. An action that is not listed is illegal."""

WAITING: Final = frozenset({JobStatus.QUEUED, JobStatus.PAUSED})
"""No worker has the job, and one may come: its place in the queue still matters."""

ALREADY: Final[Mapping[Action, frozenset[JobStatus]]] = MappingProxyType(
    {
        Action.CANCEL: frozenset({JobStatus.CANCELLING}),
        Action.PAUSE: frozenset({JobStatus.PAUSING, JobStatus.PAUSED}),
        Action.RESUME: frozenset[JobStatus](),
        Action.RETRY: frozenset[JobStatus](),
    }
)
"""Statuses in which an action was asked for before: asking again changes nothing."""


def allowed_actions(status: JobStatus) -> list[Action]:
    """Return what a client may do to a job in `status`, for its row and for a refusal."""
    allowed = [action for action, moves in ACTIONS.items() if status in moves]
    return [*allowed, Action.DELETE] if status in TERMINAL else allowed
