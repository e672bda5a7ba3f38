"""Workers that are killed, frozen and told to stop, as processes of their own."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.models import Checkpoint, Supervision
from app.jobs.states import JobStatus, Phase
from tests.worker.fake_pipeline import SAVE_EVERY
from tests.worker.rig import Rig, is_alive, kill_group, runner_of

pytestmark = pytest.mark.parametrize("engine", ["postgres"], indirect=True)

SHORT_LEASE = timedelta(seconds=3)
"""One that is over in a test; after 2.4 of these seconds an owner without an answer stops."""


@contextmanager
def held_rows(rig: Rig) -> Iterator[None]:
    """Hold the rows of all jobs, as long as an owner takes to stop and not much longer.

    The server itself lets them go in the end: whoever waits for them to write how the attempt ended
    does not wait for long either.
    """
    with suppress(OperationalError), rig.database.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 3500")
        connection.exec_driver_sql("SELECT id FROM jobs FOR UPDATE")
        yield


def test_a_runner_dies_with_its_worker_and_another_one_finishes_the_job(rig: Rig) -> None:
    job_id = rig.submit(stays_in=Phase.TRAINING)

    with rig.sweeping():
        with rig.worker() as first:
            rig.until_phase(job_id, Phase.TRAINING)
            runner = runner_of(first.pid)
            first.kill()
            rig.until(lambda: not is_alive(runner))
        rig.relabel(job_id)
        rig.expire(job_id)
        with rig.working():
            job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == 2
    rig.check_result(job_id)


@pytest.mark.parametrize("phase", [Phase.GENERATING, Phase.TRAINING])
def test_a_worker_that_is_told_to_stop_hands_its_job_back(rig: Rig, phase: Phase) -> None:
    job_id = rig.submit(stays_in=phase)

    with rig.worker() as first:
        rig.until_phase(job_id, phase)
        first.terminate()
        assert first.wait(timeout=300) == 0
    job = rig.job(job_id)
    assert (job.status, job.attempt_open) == (JobStatus.QUEUED, True)
    rig.relabel(job_id)
    with rig.working():
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == 1
    rig.check_result(job_id)
    trace = rig.trace(job_id)
    assert len(trace) == len(set(trace))  # nothing was done twice


def test_a_zombie_writes_nothing_and_registers_no_checkpoint(rig: Rig) -> None:
    job_id = rig.submit(stays_in=f"{Phase.TRAINING} {SAVE_EVERY}")

    with rig.sweeping(), rig.worker() as first:
        rig.until(lambda: f"{Phase.TRAINING} {SAVE_EVERY}" in rig.trace(job_id))
        zombie = runner_of(first.pid)
        for pid in (first.pid, zombie):
            kill_group(pid, signal.SIGSTOP)
        old_fence = rig.job(job_id).fence
        registered = {(row.fence, row.step) for row in rig.rows(Checkpoint, job_id)}
        rig.relabel(job_id, pace=0.1)
        rig.expire(job_id)
        rig.until(lambda: rig.job(job_id).fence > old_fence)
        with rig.working():
            rig.until(lambda: rig.job(job_id).fence > old_fence + 1)
            # Only the runner wakes up: its supervisor, which would end it, stays frozen.
            os.killpg(zombie, signal.SIGCONT)
            rig.until(lambda: not is_alive(zombie))
            job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == 2
    rig.check_result(job_id)
    now = {(row.fence, row.step) for row in rig.rows(Checkpoint, job_id)}
    assert {row for row in now if row[0] == old_fence} <= registered
    assert {row.fence for row in rig.rows(Supervision, job_id)} == {old_fence}


def test_a_frozen_worker_that_wakes_up_ends_its_runner_itself(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"lease": SHORT_LEASE})
    job_id = rig.submit(stays_in=Phase.TRAINING)

    with rig.worker() as first:
        rig.until_phase(job_id, Phase.TRAINING)
        runner = rig.until_runner(first.pid)
        kill_group(runner, signal.SIGSTOP)  # it cannot end by itself
        kill_group(first.pid, signal.SIGSTOP)
        time.sleep(SHORT_LEASE.total_seconds() * 0.9)
        kill_group(first.pid, signal.SIGCONT)
        rig.until(lambda: not is_alive(runner))


def test_an_owner_that_cannot_reach_the_database_stops_by_itself(rig: Rig) -> None:
    """That it does so before its lease is over is seen where its watch is tested."""
    rig.settings = rig.settings.model_copy(update={"lease": SHORT_LEASE})
    job_id = rig.submit(stays_in=Phase.BASELINE)

    with rig.worker() as first:
        rig.until_phase(job_id, Phase.BASELINE)
        runner = rig.until_runner(first.pid)
        kill_group(runner, signal.SIGSTOP)  # it cannot end by itself
        with held_rows(rig):  # no heartbeat gets through
            rig.until(lambda: not is_alive(runner))
        rig.until(lambda: rig.job(job_id).fence > 1)  # handed back, and claimed again

    job = rig.job(job_id)
    assert (job.attempt, job.crash_streak) == (1, 0)


def test_a_database_that_restarts_costs_no_attempt(rig: Rig) -> None:
    job_id = rig.submit(pace=0.1)
    everybody_out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    with rig.worker(), rig.database.engine.connect() as admin:
        rig.until_phase(job_id, Phase.GENERATING)
        for _ in range(10):
            admin.exec_driver_sql(f"{everybody_out} AND datname = current_database()")
            admin.rollback()
            time.sleep(0.1)
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert (job.attempt, job.fence) == (1, 1)
    rig.check_result(job_id)
