"""What users ask of running jobs: pause, resume and retry, with real child processes."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter
from app.db.engine import Database
from app.evaluations.models import Evaluation, FactResult
from app.ids import JobId
from app.jobs import repository
from app.jobs.models import Checkpoint, JobAttempt, Supervision
from app.jobs.states import Action, JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from tests.worker.fake_pipeline import SAVE_EVERY, STEPS
from tests.worker.rig import Rig
from worker.housekeeping import clear_work

only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
STEPS_OF_TRAINING = [f"training {step}" for step in range(STEPS)]


def steps(rig: Rig, job_id: JobId) -> list[str]:
    return [line for line in rig.trace(job_id) if line.startswith("training ")]


def retry(database: Database, job_id: JobId, *, anew: bool = False) -> None:
    with database.begin() as session:
        now = database.now(session)
        job = repository.act(session, job_id, Action.RETRY, project_id=DEFAULT_PROJECT, now=now)
        if anew:
            repository.forget_work(session, job)


@only_sqlite
def test_a_job_is_paused_in_every_phase_and_goes_on_from_there(rig: Rig) -> None:
    jobs = {phase: rig.submit(stays_in=phase) for phase in Phase}

    with rig.working(count=2):
        for phase, job_id in jobs.items():
            rig.until_phase(job_id, phase)
            rig.act(job_id, Action.PAUSE)
            job = rig.until_status(job_id, JobStatus.PAUSED)
            assert (job.attempt_open, job.lease_owner) == (True, None)
            rig.relabel(job_id)
            rig.act(job_id, Action.RESUME)
        for phase, job_id in jobs.items():
            job = rig.until_status(job_id, JobStatus.SUCCEEDED)
            assert (job.attempt, len(rig.rows(JobAttempt, job_id))) == (1, 1), phase

    for phase, job_id in jobs.items():
        rig.check_result(job_id)
        assert steps(rig, job_id) == STEPS_OF_TRAINING, phase
        story = [kind for kind in rig.events(job_id) if kind in {"job.pausing", "job.paused", "job.resumed"}]
        assert story == ["job.pausing", "job.paused", "job.resumed"]


@only_sqlite
@pytest.mark.parametrize("action", [Action.PAUSE, Action.CANCEL])
def test_a_runner_that_has_nothing_to_save_is_ended_at_once(rig: Rig, action: Action) -> None:
    rig.settings = rig.settings.model_copy(update={"grace": timedelta(hours=1)})
    job_id = rig.submit(does="load for long")

    with rig.working():
        rig.until_phase(job_id, Phase.PREPARING)
        rig.act(job_id, action)
        job = rig.until_status(
            job_id, JobStatus.PAUSED if action is Action.PAUSE else JobStatus.CANCELLED, seconds=120
        )

    assert job.crash_streak == 0
    assert "job.attempt_lost" not in rig.events(job_id)


@pytest.mark.parametrize("start", ["checkpoint", "start"])
def test_a_cancelled_job_is_retried_from_its_checkpoint_or_from_the_start(rig: Rig, start: str) -> None:
    anew = start == "start"
    after_a_checkpoint = f"training {SAVE_EVERY}"
    job_id = rig.submit(stays_in=after_a_checkpoint)
    with rig.working():
        rig.until(lambda: after_a_checkpoint in rig.trace(job_id))
        assert rig.rows(Checkpoint, job_id)
        rig.act(job_id, Action.CANCEL)
        rig.until_status(job_id, JobStatus.CANCELLED)
    done = len(rig.trace(job_id))
    clear_work(rig.database, rig.settings.work_dir, keep=rig.settings.keep_work)
    rig.relabel(job_id)

    retry(rig.database, job_id, anew=anew)
    with rig.working():
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert (job.attempt, job.fence > 2) == (2, True)
    rig.check_result(job_id)
    assert len(rig.rows(Evaluation, job_id)) == len(rig.rows(Adapter, job_id)) == 1
    with rig.database.read() as session:
        assert len(session.scalars(select(FactResult)).all()) == len(rig.keys[job_id])
    outcomes = {row.attempt: row.outcome for row in rig.rows(JobAttempt, job_id)}
    assert outcomes == {1: "cancelled", 2: "succeeded"}
    second = rig.trace(job_id)[done:]
    if anew:
        assert [line for line in second if line.startswith("training ")] == STEPS_OF_TRAINING
        assert "generating 0" in second
        assert {row.fence for row in rig.rows(Supervision, job_id)} == {job.fence}
    else:
        assert second[0] == after_a_checkpoint
        assert {row.fence for row in rig.rows(Supervision, job_id)} == {1}


@only_sqlite
def test_a_failed_job_is_retried(rig: Rig) -> None:
    job_id = rig.submit(does="fail")
    rig.supervisor().run_one("gpu")
    rig.relabel(job_id)

    retry(rig.database, job_id)
    rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.attempt, job.error_code) == (JobStatus.SUCCEEDED, 2, None)
    rig.check_result(job_id)
