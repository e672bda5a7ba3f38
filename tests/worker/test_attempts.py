"""Attempts in real child processes, and every way in which they end."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter
from app.evaluations.models import Evaluation, FactResult, Score
from app.events.models import Event
from app.jobs.models import Checkpoint, JobAttempt, JobPhase
from app.jobs.states import Action, JobStatus, Phase
from tests.worker.rig import Rig

only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def test_a_job_runs_through_all_phases_and_is_published(rig: Rig) -> None:
    job_id = rig.submit()

    assert rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.attempt, job.lease_owner) == (JobStatus.SUCCEEDED, 1, None)
    rig.check_result(job_id)
    events = rig.events(job_id)
    assert events[0] == "job.started"
    assert events[-3:] == ["evaluation.completed", "adapter.created", "job.succeeded"]
    assert events.count("job.phase_started") == events.count("job.phase_completed") == len(Phase)
    assert events.count("job.checkpoint_saved") == 3
    phases = {row.phase: row for row in rig.rows(JobPhase, job_id)}
    assert set(phases) == set(Phase)
    assert all(row.finished_at and row.done == row.total for row in phases.values())
    (evaluation,) = rig.rows(Evaluation, job_id)
    with rig.database.read() as session:
        facts = session.scalars(
            select(FactResult.fact_key).where(FactResult.evaluation_id == evaluation.id)
        ).all()
        assert set(facts) == set(rig.keys[job_id])
        assert session.scalars(select(Score.evaluation_id)).one() == evaluation.id
    assert not rig.supervisor().run_one("gpu")


@pytest.mark.parametrize(
    "crashes",
    [
        [
            *("preparing.started", "generating.after_supervision", "training.after_checkpoint"),
            "packaging.before_commit",
        ],
        ["baseline.progress", "generating.completed", "training.before_checkpoint", "evaluating.progress"],
    ],
)
def test_a_killed_runner_costs_an_attempt_and_nothing_else(rig: Rig, crashes: list[str]) -> None:
    job_id = rig.submit()

    with rig.working(crash_at=crashes):
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == len(crashes) + 1
    assert rig.events(job_id).count("job.attempt_lost") == len(crashes)
    rig.check_result(job_id)
    trace = rig.trace(job_id)
    again = {line for line in trace if trace.count(line) > 1}
    assert all(line.startswith(tuple(name.partition(".")[0] for name in crashes)) for line in again)
    assert len(rig.rows(Checkpoint, job_id)) == 2


@only_sqlite
def test_a_job_is_published_even_if_the_runner_dies_right_after(rig: Rig) -> None:
    job_id = rig.submit()

    rig.supervisor(crash_at=["packaging.after_commit"]).run_one("gpu")

    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    rig.check_result(job_id)


@only_sqlite
def test_a_cancel_takes_effect_in_every_phase_long_before_the_next_heartbeat(rig: Rig) -> None:
    far = {"heartbeat": timedelta(hours=1), "lease": timedelta(hours=3), "grace": timedelta(hours=1)}
    rig.settings = rig.settings.model_copy(update=far)
    jobs = {phase: rig.submit(stays_in=phase) for phase in Phase}

    with rig.working(count=2):
        for phase, job_id in jobs.items():
            rig.until_phase(job_id, phase)
            rig.act(job_id, Action.CANCEL)
            rig.until_status(job_id, JobStatus.CANCELLED)

    for job_id in jobs.values():
        assert rig.rows(Adapter, job_id) == []
        assert rig.events(job_id)[-1] == "job.cancelled"


@only_sqlite
def test_a_paused_job_keeps_its_work_and_its_attempt(rig: Rig) -> None:
    job_id = rig.submit(stays_in=f"{Phase.TRAINING} 5")

    with rig.working():
        rig.until(lambda: f"{Phase.TRAINING} 5" in rig.trace(job_id))
        rig.act(job_id, Action.PAUSE)
        rig.until_status(job_id, JobStatus.PAUSED)
        rig.relabel(job_id)
        rig.act(job_id, Action.RESUME)
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == 1
    trace = rig.trace(job_id)
    assert len(trace) == len(set(trace))
    rig.check_result(job_id)


@only_sqlite
def test_a_runner_that_does_not_stop_in_time_is_killed_and_the_cancel_stands(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"grace": timedelta(seconds=1)})
    job_id = rig.submit(does="freeze")

    with rig.working():
        rig.until_phase(job_id, Phase.PREPARING)
        rig.act(job_id, Action.CANCEL)
        job = rig.until_status(job_id, JobStatus.CANCELLED)

    assert job.crash_streak == 0


@only_sqlite
def test_a_job_without_progress_is_stopped(rig: Rig) -> None:
    job_id = rig.submit(does="freeze")
    rig.settings = rig.settings.model_copy(update={"stall": timedelta(seconds=1)})

    rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.crash_streak) == (JobStatus.QUEUED, 1)
    with rig.database.read() as session:
        lost = session.scalars(select(Event.data).where(Event.type == "job.attempt_lost")).one()
    assert lost == {"code": "stalled"}


@only_sqlite
def test_a_job_that_kills_its_runner_fails_after_three_attempts_and_others_finish(rig: Rig) -> None:
    poison = rig.submit(does="die")
    healthy = [rig.submit() for _ in range(2)]

    with rig.working(count=2):
        job = rig.until_status(poison, JobStatus.FAILED)
        for job_id in healthy:
            rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert (job.attempt, job.error_code, job.error_category) == (3, "worker_lost", "system")


@only_sqlite
def test_an_expected_error_fails_the_job_with_its_own_code(rig: Rig) -> None:
    job_id = rig.submit(does="fail")

    rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert (job.error_category, job.error_code, job.error_retryable) == ("user", "no_supervision", False)
    assert job.error_message == "not one fact got a text"


@only_sqlite
@pytest.mark.parametrize("does", ["break", "forget to publish"])
def test_a_bug_costs_an_attempt_and_its_text_stays_in_the_log(rig: Rig, does: str) -> None:
    job_id = rig.submit(does=does)

    rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.crash_streak) == (JobStatus.QUEUED, 1)
    with rig.database.read() as session:
        (attempt,) = session.scalars(select(JobAttempt).where(JobAttempt.job_id == job_id))
    assert attempt.outcome == "lost"
    if does == "break":
        assert "a bug, with a secret in it" in (rig.folder(job_id) / "log.txt").read_text()


@only_sqlite
def test_out_of_memory_halves_the_batch_until_it_fits(rig: Rig) -> None:
    job_id = rig.submit(training={"batch_size": 8}, does="run out of memory", fits=2)

    assert rig.supervisor().drain("gpu") == 3

    job = rig.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert (job.oom_count, job.micro_batch_override, job.crash_streak) == (2, 2, 0)


@only_sqlite
def test_of_several_processes_each_has_but_its_share_of_the_batch(rig: Rig) -> None:
    job_id = rig.submit(training={"batch_size": 15, "processes": 4}, does="run out of memory", fits=2)

    assert rig.supervisor().drain("gpu") == 2

    job = rig.job(job_id)
    assert (job.status, job.oom_count, job.micro_batch_override) == (JobStatus.SUCCEEDED, 1, 2)


@only_sqlite
def test_a_batch_of_one_that_does_not_fit_fails_the_job(rig: Rig) -> None:
    job_id = rig.submit(training={"micro_batch": 1}, does="run out of memory", fits=0)

    rig.supervisor().run_one("gpu")

    job = rig.job(job_id)
    assert (job.status, job.error_code, job.error_category) == (
        JobStatus.FAILED,
        "out_of_memory",
        "capacity",
    )


@only_sqlite
def test_a_supervisor_that_is_told_to_stop_claims_nothing(rig: Rig) -> None:
    job_id = rig.submit()
    stop = threading.Event()
    stop.set()

    assert rig.supervisor(stop=stop.is_set).drain("gpu") == 0

    assert rig.job(job_id).status is JobStatus.QUEUED
