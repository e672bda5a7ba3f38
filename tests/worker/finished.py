"""A job that was done as workers do it, in this very process."""

import signal
from datetime import timedelta
from typing import Final

from app.ids import JobId
from app.jobs import leases
from app.jobs.leases import Claim
from tests.worker.rig import Rig
from worker.failures import Exit
from worker.runner import attempt
from worker.supervisor import VERSION, owner_name

_LEASE: Final = timedelta(minutes=10)
"""Nobody keeps it alive."""

PIPELINE: Final = "tests.worker.fake_pipeline:run"


def claimed(rig: Rig, *, version: int = VERSION) -> Claim | None:
    """Claim the next job as a worker of this version."""
    with rig.database.begin() as session:
        now = rig.database.now(session)
        return leases.claim(session, queue="gpu", owner=owner_name(), version=version, now=now, lease=_LEASE)


def finish(rig: Rig, claim: Claim) -> None:
    """Make the attempt that was claimed."""
    ended = _attempt(rig, claim, PIPELINE)
    assert ended is Exit.PUBLISHED, (ended, rig.events(claim.job_id))


def a_trained_job(rig: Rig) -> JobId:
    """Submit a job, and leave it behind after its training: owned, with two checkpoints."""
    job_id = rig.submit(pace=0)
    claim = claimed(rig)
    assert claim is not None
    _attempt(rig, claim, "tests.worker.fake_pipeline:stop_after_training")
    return job_id


def _attempt(rig: Rig, claim: Claim, pipeline: str) -> Exit:
    listening = signal.getsignal(signal.SIGTERM)
    patient = rig.settings.model_copy(update={"lease": _LEASE})
    try:
        return attempt(rig.database, claim, patient, pipeline=pipeline)
    finally:
        signal.signal(signal.SIGTERM, listening)


def a_finished_job(rig: Rig) -> JobId:
    """Submit a job of three facts, and do it."""
    job_id = rig.submit(pace=0)
    claim = claimed(rig)
    assert claim is not None
    assert claim.job_id == job_id
    finish(rig, claim)
    return job_id
