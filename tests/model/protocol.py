"""The protocol of a job on one page: what each statement of `app.jobs` does, without a database.

Written from the rules, not from the code, so that the two can be compared. A statement takes the
job as it stands and gives the job as it stands then, or None where it changes nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

QUEUED, RUNNING, PAUSING, PAUSED = "queued", "running", "pausing", "paused"
CANCELLING, SUCCEEDED, FAILED, CANCELLED = "cancelling", "succeeded", "failed", "cancelled"

OWNED: Final = frozenset({RUNNING, PAUSING, CANCELLING})
TERMINAL: Final = frozenset({SUCCEEDED, FAILED, CANCELLED})


class Job(NamedTuple):
    """What the protocol knows of a job. `live` says whether its lease still runs."""

    status: str = QUEUED
    fence: int = 0
    attempt: int = 0
    is_open: bool = False
    """Whether the next claim goes on with the attempt."""
    streak: int = 0
    """Crashes in a row, without progress in between."""
    limit: int = 20
    live: bool = False


class Mutation(StrEnum):
    """A rule left out. The search must notice each."""

    NO_FENCE = "statements do not ask for the fence"
    CLAIM_KEEPS_FENCE = "a claim does not raise the fence"
    PUBLISH_CANCELLING = "a publish ignores that the job is being cancelled"
    COUNT_EACH_CLAIM = "each claim counts as an attempt"
    NO_LIMIT = "attempts have no limit"
    NO_CRASH_LIMIT = "crashes in a row have no limit"
    ANY_EVENT_FORGIVES = "crashes are forgiven without progress"
    REAP_QUEUES_PAUSING = "the reaper sends a job back to the queue that is to be paused"
    REAP_QUEUES_CANCELLING = "the reaper sends a job back to the queue that is to be cancelled"
    REAP_PASSES_CANCELLING = "the reaper passes over jobs that are being cancelled"
    PAUSE_BEFORE_LIMIT = "a pause goes before the limit"
    FAIL_BEFORE_CANCEL = "a failure goes before a cancel"
    RELEASE_QUEUES = "an owner that gives a job up always sends it back to the queue"
    UNGUARDED_CHECKPOINT = "a checkpoint is registered without the guard"
    UNREGISTERED_CHECKPOINT = "a checkpoint is resumed that nobody registered"
    RETRY_SUCCEEDED = "a job that succeeded can be retried"


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits, and what is wrong with the protocol, if anything."""

    crash_limit: int = 3
    more_attempts: int = 20
    """Attempts that a retry grants."""
    broken: Mutation | None = None


REAL: Final = Rules()


def is_held(job: Job, fence: int, rules: Rules = REAL) -> bool:
    """Say whether a statement with this fence finds the job."""
    return job.status in OWNED and (job.fence == fence or rules.broken is Mutation.NO_FENCE)


def claim(job: Job, rules: Rules = REAL) -> Job | None:
    if job.status != QUEUED:
        return None
    goes_on = job.is_open and rules.broken is not Mutation.COUNT_EACH_CLAIM
    return job._replace(
        status=RUNNING,
        fence=job.fence + (rules.broken is not Mutation.CLAIM_KEEPS_FENCE),
        attempt=job.attempt + (not goes_on),
        is_open=True,
        live=True,
    )


def beat(job: Job, fence: int, rules: Rules = REAL) -> Job | None:
    return job._replace(live=True) if is_held(job, fence, rules) else None


def guard(job: Job, fence: int, rules: Rules = REAL, *, progress: bool = False) -> Job | None:
    """Hold the job for a write, which a job that is being cancelled does not take any more."""
    if not is_held(job, fence, rules) or job.status == CANCELLING:
        return None
    forgives = progress or rules.broken is Mutation.ANY_EVENT_FORGIVES
    return job._replace(streak=0) if forgives else job


def publish(job: Job, fence: int, rules: Rules = REAL) -> Job | None:
    is_late = job.status == CANCELLING and rules.broken is not Mutation.PUBLISH_CANCELLING
    if not is_held(job, fence, rules) or is_late:
        return None
    return job._replace(status=SUCCEEDED, is_open=False, live=False)


def fail(job: Job, fence: int, rules: Rules = REAL) -> Job | None:
    if not is_held(job, fence, rules):
        return None
    heeds = job.status == CANCELLING and rules.broken is not Mutation.FAIL_BEFORE_CANCEL
    return job._replace(status=CANCELLED if heeds else FAILED, is_open=False, live=False)


def release(job: Job, fence: int, rules: Rules = REAL) -> Job | None:
    """Give the job up at a safe point: its attempt goes on."""
    if not is_held(job, fence, rules):
        return None
    wanted = {CANCELLING: CANCELLED, PAUSING: PAUSED, RUNNING: QUEUED}[job.status]
    return job._replace(status=QUEUED if rules.broken is Mutation.RELEASE_QUEUES else wanted, live=False)


def crash(job: Job, fence: int, rules: Rules = REAL) -> Job | None:
    """Take the job back from a runner that died, by its own supervisor."""
    return _taken_back(job, rules) if is_held(job, fence, rules) else None


def expire(job: Job) -> Job | None:
    """Time passes, and no beat comes."""
    return job._replace(live=False) if job.status in OWNED and job.live else None


def reap(job: Job, rules: Rules = REAL) -> Job | None:
    """Take the job back from an owner whose lease is over."""
    passes = job.status == CANCELLING and rules.broken is Mutation.REAP_PASSES_CANCELLING
    return _taken_back(job, rules) if job.status in OWNED and not job.live and not passes else None


def _taken_back(job: Job, rules: Rules) -> Job:
    crashes_out = job.streak + 1 >= rules.crash_limit and rules.broken is not Mutation.NO_CRASH_LIMIT
    runs_out = job.attempt >= job.limit and rules.broken is not Mutation.NO_LIMIT
    ends = crashes_out or runs_out
    pauses = job.status == PAUSING and rules.broken is not Mutation.REAP_QUEUES_PAUSING
    if job.status == CANCELLING and rules.broken is not Mutation.REAP_QUEUES_CANCELLING:
        status = CANCELLED
    elif pauses and rules.broken is Mutation.PAUSE_BEFORE_LIMIT:
        status = PAUSED
    else:
        status = FAILED if ends else PAUSED if pauses else QUEUED
    return job._replace(status=status, fence=job.fence + 1, is_open=False, streak=job.streak + 1, live=False)


def cancel(job: Job) -> Job | None:
    if job.status in {QUEUED, PAUSED}:
        return job._replace(status=CANCELLED)
    return job._replace(status=CANCELLING) if job.status in {RUNNING, PAUSING} else None


def pause(job: Job) -> Job | None:
    if job.status == QUEUED:
        return job._replace(status=PAUSED)
    return job._replace(status=PAUSING) if job.status == RUNNING else None


def resume(job: Job) -> Job | None:
    return job._replace(status=QUEUED) if job.status == PAUSED else None


def retry(job: Job, rules: Rules = REAL) -> Job | None:
    """Open a job again that failed or was cancelled: the only way out of a terminal status."""
    ended = {FAILED, CANCELLED} | ({SUCCEEDED} if rules.broken is Mutation.RETRY_SUCCEEDED else set())
    if job.status not in ended:
        return None
    return job._replace(
        status=QUEUED,
        fence=job.fence + 1,
        is_open=False,
        streak=0,
        limit=job.attempt + rules.more_attempts,
    )
