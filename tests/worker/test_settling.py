"""What a supervisor writes for each way in which a runner ends, and that a lost job is left alone."""

import signal
from datetime import timedelta

import pytest
from sqlalchemy import delete

from app.jobs import leases
from app.jobs.leases import Claim, Ended
from app.jobs.models import Job
from app.jobs.states import Action, JobStatus
from tests.worker.rig import Rig
from worker.failures import WORKER_LOST, Exit
from worker.watch import Cause, Ending

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

RUNNING, PAUSING, CANCELLING = JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING
QUEUED, PAUSED, CANCELLED = JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.CANCELLED

HANDED_BACK = [
    Ending(Exit.HANDED_BACK, Cause.ASKED),
    Ending(Exit.CANCELLED, Cause.ASKED),
    Ending(Exit.DISK_FULL, None),
    Ending(Exit.OUT_OF_MEMORY, None),
    Ending(-signal.SIGTERM, Cause.ASKED),
    Ending(-signal.SIGKILL, Cause.ASKED),
    Ending(-signal.SIGKILL, Cause.SELF_FENCED),
]
CRASHED = [
    Ending(-signal.SIGKILL, None),
    Ending(-signal.SIGKILL, Cause.STALLED),
    Ending(-signal.SIGSEGV, None),
    Ending(Exit.DEFECT, None),
    Ending(Exit.IO_ERROR, None),
    Ending(Exit.PUBLISHED, None),
    Ending(1, None),
]
SAYS_NOTHING = [Ending(-signal.SIGKILL, Cause.LEASE_LOST), Ending(Exit.LEASE_LOST, None)]


def claimed(rig: Rig, wanted: JobStatus = RUNNING) -> Claim:
    """A claim on a job that its user wants to have this status."""
    job_id = rig.submit()
    with rig.database.begin() as session:
        now = rig.database.now(session)
        claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=rig.settings.lease)
    assert claim is not None
    if wanted is not RUNNING:
        rig.act(job_id, Action.PAUSE if wanted is PAUSING else Action.CANCEL)
    return claim


def settled(rig: Rig, claim: Claim, ending: Ending) -> Ended | None:
    with rig.database.begin() as session:
        return rig.supervisor().settle(session, claim, ending)


@pytest.mark.parametrize("wanted", [RUNNING, PAUSING, CANCELLING])
@pytest.mark.parametrize("ending", HANDED_BACK, ids=str)
def test_what_was_handed_back_goes_on_in_its_attempt(rig: Rig, ending: Ending, wanted: JobStatus) -> None:
    claim = claimed(rig, wanted)

    settled(rig, claim, ending)

    job = rig.job(claim.job_id)
    assert job.status is {RUNNING: QUEUED, PAUSING: PAUSED, CANCELLING: CANCELLED}[wanted]
    assert (job.fence, job.attempt_open, job.crash_streak) == (claim.fence, True, 0)


@pytest.mark.parametrize("wanted", [RUNNING, PAUSING, CANCELLING])
@pytest.mark.parametrize("ending", CRASHED, ids=str)
def test_a_crash_ends_the_attempt_and_counts(rig: Rig, ending: Ending, wanted: JobStatus) -> None:
    claim = claimed(rig, wanted)

    settled(rig, claim, ending)

    job = rig.job(claim.job_id)
    assert job.status is {RUNNING: QUEUED, PAUSING: PAUSED, CANCELLING: CANCELLED}[wanted]
    assert (job.fence, job.attempt_open, job.crash_streak) == (claim.fence + 1, False, 1)


@pytest.mark.parametrize("ending", SAYS_NOTHING, ids=str)
def test_whose_lease_is_lost_has_nothing_to_say(rig: Rig, ending: Ending) -> None:
    claim = claimed(rig)

    assert settled(rig, claim, ending) is None

    assert rig.job(claim.job_id).status is RUNNING


@pytest.mark.parametrize("ending", [*HANDED_BACK, *CRASHED], ids=str)
def test_a_job_that_another_one_has_is_left_alone(rig: Rig, ending: Ending) -> None:
    lost = claimed(rig)
    with rig.database.begin() as session:
        now = rig.database.now(session)
        leases.crash(session, lost.job_id, lost.fence, WORKER_LOST, now=now, backoff=-timedelta(1))
        again = leases.claim(session, queue="gpu", owner="you", version=9, now=now, lease=rig.settings.lease)
    assert again is not None

    assert settled(rig, lost, ending) is None

    job = rig.job(lost.job_id)
    assert (job.status, job.fence, job.lease_owner) == (RUNNING, again.fence, "you")


@pytest.mark.parametrize("ending", [*HANDED_BACK, *CRASHED], ids=str)
def test_a_job_that_was_deleted_is_nobodys(rig: Rig, ending: Ending) -> None:
    claim = claimed(rig)
    with rig.database.begin() as session:
        session.execute(delete(Job).where(Job.id == claim.job_id))

    assert settled(rig, claim, ending) is None
