"""A job whose store is away waits for it: with all that it has made, in its attempt, and saying why."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.db.engine import Database
from app.events.models import Event
from app.ids import JobId
from app.jobs.leases import CRASH_LIMIT
from app.jobs.models import Job
from app.jobs.states import Action, JobStatus, Phase
from app.main import build_app
from app.queue import NullDispatcher
from app.s3.store import S3Store
from app.settings import AuthMode, Settings
from tests.s3.lying import LyingServer, refusal
from tests.worker.rig import Rig

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def rig(database: Database, tmp_path: Path, lying: LyingServer, bucket: str) -> Rig:
    settings = Settings(
        data_dir=tmp_path,
        database_url=database.engine.url.render_as_string(hide_password=False),
        auth=AuthMode.OFF,
        rate_limit=0,
        artifacts=f"s3://{bucket}",
        s3_endpoint=lying.url,
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(minutes=10),
        stall=timedelta(minutes=10),
    )
    return Rig(database, settings)


def made_in(phase: Phase) -> str:
    """The name under which the fake pipeline puts what a phase has made."""
    return hashlib.sha256(f"result of {phase}".encode()).hexdigest()


def let_a_minute_pass(rig: Rig, job_id: JobId) -> None:
    """See that the job waits for a minute, and take that from it."""
    with rig.database.begin() as session:
        left = rig.job(job_id).next_run_at - rig.database.now(session)
        assert timedelta(0) < left <= timedelta(minutes=1)
        session.execute(update(Job).where(Job.id == job_id).values(next_run_at=rig.database.now(session)))


def said_last(rig: Rig, job_id: JobId) -> tuple[str, str]:
    with rig.database.read() as session:
        event = session.scalars(
            select(Event).where(Event.job_id == job_id).order_by(Event.seq.desc())
        ).first()
    assert event is not None
    return event.type, event.message


def test_a_job_goes_on_once_the_store_is_back_and_does_nothing_twice(rig: Rig, lying: LyingServer) -> None:
    job_id = rig.submit()
    refuse = refusal(403, "AccessDenied")
    for phase in (Phase.BASELINE, Phase.EVALUATING):
        lying.tell("PUT", refuse, part=made_in(phase))

    for _ in range(2):
        assert rig.supervisor().run_one("gpu")
        job = rig.job(job_id)
        assert (job.status, job.wait_reason) == (JobStatus.QUEUED, "waiting_store")
        assert (job.attempt, job.attempt_open, job.crash_streak) == (1, True, 0)
        assert not rig.supervisor().run_one("gpu")
        let_a_minute_pass(rig, job_id)
    assert rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.wait_reason, job.attempt) == (JobStatus.SUCCEEDED, None, 1)
    assert rig.events(job_id).count("job.requeued") == 2
    trace = rig.trace(job_id)
    assert len(trace) == len(set(trace))


def test_a_job_whose_store_never_works_says_so_is_never_given_up_and_can_be_cancelled(
    rig: Rig, lying: LyingServer, bucket: str, s3_store: S3Store
) -> None:
    job_id = rig.submit()
    for method in ("GET", "HEAD", "PUT"):
        lying.tell(method, refusal(403, "AccessDenied"), times=1000)

    for _ in range(CRASH_LIMIT):
        assert rig.supervisor().run_one("gpu")
        let_a_minute_pass(rig, job_id)

    job = rig.job(job_id)
    assert (job.attempt, job.crash_streak, job.error_code) == (1, 0, None)
    assert said_last(rig, job_id) == ("job.requeued", "waiting_store")
    told = (rig.folder(job_id) / "log.txt").read_text()
    assert "(403): see that the credentials are right" in told
    assert bucket in told
    app = build_app(rig.database, s3_store, NullDispatcher(), rig.settings)
    with TestClient(app) as client:
        read = client.get(f"/jobs/{job_id}").json()
        report = client.get(f"/jobs/{job_id}/report?format=md").text
    assert (read["status"], read["wait_reason"], read["error"]) == ("queued", "waiting_store", None)
    assert "It is held back: waiting" in report
    rig.act(job_id, Action.CANCEL)
    assert rig.job(job_id).status is JobStatus.CANCELLED
    assert not rig.supervisor().run_one("gpu")
