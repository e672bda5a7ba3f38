"""Runners and workers that are frozen, killed, short of memory, or have a bug."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter
from app.events.models import Event
from app.ids import JobId
from app.jobs.models import Checkpoint, WorkSpan
from app.jobs.states import Action, JobStatus, Phase
from tests.faults.conftest import FaultRig
from tests.worker import fake_pipeline
from tests.worker.rig import is_alive, kill_group, runner_of

on_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


def losses(rig: FaultRig, job_id: JobId) -> list[str]:
    """Return why attempts at the job were lost, in order."""
    lost = select(Event.data).where(Event.job_id == job_id, Event.type == "job.attempt_lost")
    with rig.database.read() as session:
        return [data["code"] for data in session.scalars(lost.order_by(Event.seq))]


def is_frozen(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@on_postgres
def test_a_frozen_runner_under_a_worker_that_lives_is_ended_and_its_job_goes_on(rig: FaultRig) -> None:
    rig.settings = rig.settings.model_copy(update={"stall": timedelta(seconds=20)})
    job_id = rig.submit(stays_in=Phase.TRAINING)

    with rig.worker() as worker:
        rig.until_phase(job_id, Phase.TRAINING)
        runner = rig.until_runner(worker.pid)
        rig.relabel(job_id)
        kill_group(runner, signal.SIGSTOP)
        rig.until(lambda: not is_alive(runner))
        rig.until(lambda: losses(rig, job_id))
    assert set(losses(rig, job_id)) == {"stalled"}

    rig.expire(job_id)  # the worker may have begun once more
    rig.settings = rig.settings.model_copy(update={"stall": timedelta(minutes=10)})
    with rig.sweeping(), rig.working():
        rig.until_status(job_id, JobStatus.SUCCEEDED)
    rig.check_result(job_id)


@on_postgres
def test_a_zombie_that_wakes_up_just_before_it_would_publish_does_not(rig: FaultRig) -> None:
    job_id = rig.submit(does="freeze before it publishes")

    with rig.sweeping(), rig.worker() as first:
        rig.until(lambda: "packaging 0" in rig.trace(job_id))
        zombie = runner_of(first.pid)
        rig.until(lambda: is_frozen(zombie))
        kill_group(first.pid, signal.SIGSTOP)
        rig.until(lambda: is_frozen(first.pid))
        rig.expire(job_id)
        rig.until(lambda: rig.job(job_id).fence > 1)
        with rig.working():
            rig.until_status(job_id, JobStatus.SUCCEEDED)
        os.killpg(zombie, signal.SIGCONT)
        rig.until(lambda: not is_alive(zombie))

    rig.check_result(job_id)
    assert rig.events(job_id).count("adapter.created") == 1


@on_sqlite
def test_a_crash_after_the_last_checkpoint_costs_no_step(rig: FaultRig) -> None:
    job_id = rig.submit(does="die after the last checkpoint")

    with rig.working():
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt == 2
    rig.check_result(job_id)
    steps = [line for line in rig.trace(job_id) if line.startswith("training")]
    assert steps == [f"training {step}" for step in range(fake_pipeline.STEPS)]


@on_postgres
@pytest.mark.parametrize(
    ("action", "end"), [(Action.CANCEL, JobStatus.CANCELLED), (Action.PAUSE, JobStatus.PAUSED)]
)
def test_what_was_asked_for_is_done_although_every_worker_dies_at_once(
    rig: FaultRig, action: Action, end: JobStatus
) -> None:
    job_id = rig.submit(stays_in=Phase.TRAINING)

    with rig.worker() as first:
        rig.until_phase(job_id, Phase.TRAINING)
        rig.act(job_id, action)
        first.kill()
        first.wait()
    rig.expire(job_id)
    with rig.sweeping(), rig.working():
        rig.until_status(job_id, end)
        time.sleep(1)

    assert rig.job(job_id).status is end
    assert rig.events(job_id).count("job.started") == 1
    assert rig.rows(Adapter, job_id) == []


@on_postgres
def test_a_stop_that_turns_into_a_kill_costs_no_more_than_a_kill(rig: FaultRig) -> None:
    job_id = rig.submit(pace=0.1)

    with rig.worker() as first:
        rig.until_phase(job_id, Phase.TRAINING)
        first.terminate()
        first.kill()
        first.wait()
    rig.expire(job_id)
    with rig.sweeping(), rig.working():
        job = rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert job.attempt <= 2
    rig.check_result(job_id)
    again = [line for line in rig.trace(job_id) if rig.trace(job_id).count(line) > 1]
    assert len(again) <= 2 * fake_pipeline.SAVE_EVERY


@on_sqlite
def test_a_runner_that_has_published_may_take_its_leave(rig: FaultRig) -> None:
    rig.settings = rig.settings.model_copy(update={"grace": timedelta(seconds=60)})
    job_id = rig.submit(does="linger")

    assert rig.supervisor().run_one("gpu")

    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    assert (rig.folder(job_id) / "left-in-peace").exists()


@on_sqlite
@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("segfault", "segfault"),
        ("exit", "runner_exited"),
        ("break", "internal"),
        ("spin", "stalled"),
        ("fail to read", "io_error"),
    ],
)
def test_each_way_to_die_has_a_code_of_its_own_and_leaves_no_owner(
    rig: FaultRig, does: str, code: str
) -> None:
    rig.settings = rig.settings.model_copy(
        update={"stall": timedelta(seconds=4 if does == "spin" else 600), "heartbeat": timedelta(seconds=0.1)}
    )
    job_id = rig.submit(does=does)

    with rig.working():
        job = rig.until_status(job_id, JobStatus.FAILED)

    assert losses(rig, job_id) == [code] * 3
    assert (job.error_code, job.attempt, job.lease_owner) == (code, 3, None)


@on_sqlite
def test_what_one_job_does_to_its_processes_does_not_touch_others(rig: FaultRig) -> None:
    poison = rig.submit(does="die", facts=1)
    healthy = [rig.submit(facts=1) for _ in range(6)]

    with rig.working(count=2):
        job = rig.until_status(poison, JobStatus.FAILED)
        for job_id in healthy:
            rig.until_status(job_id, JobStatus.SUCCEEDED)

    assert (job.attempt, job.error_code) == (3, "worker_lost")
    assert [rig.job(job_id).attempt for job_id in healthy] == [1] * 6


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group whose processes get half a gigabyte between them."""
    group = Path("/sys/fs/cgroup/memory") / f"mixsd-{uuid4().hex}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(500_000_000))
    except OSError as error:
        pytest.skip(f"needs control groups of version 1 that may be changed: {error}")
    yield group
    deadline = time.monotonic() + 120
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.1)
    group.rmdir()


@on_postgres
def test_a_job_that_eats_all_memory_dies_alone_and_is_told_why(rig: FaultRig, little_memory: Path) -> None:
    job_id = rig.submit(does="eat memory")
    inside = f'echo $$ > {little_memory}/cgroup.procs && exec "$0" -m tests.worker.loop'
    command = ["sh", "-c", inside, sys.executable]

    with subprocess.Popen(command, env=rig.environment(), start_new_session=True) as worker:
        try:
            job = rig.until_status(job_id, JobStatus.SUCCEEDED)
            assert worker.poll() is None
        finally:
            kill_group(worker.pid)

    assert losses(rig, job_id) == ["host_oom"]
    assert job.attempt == 2
    rig.check_result(job_id)


@on_postgres
def test_a_worker_whose_clock_is_two_hours_ahead_changes_nothing(rig: FaultRig) -> None:
    job_id = rig.submit(pace=0.2)
    other = rig.submit(pace=0.2)

    with rig.sweeping(), rig.working():
        command = [sys.executable, "-m", "tests.faults.skewed"]
        with subprocess.Popen(command, env=rig.environment(), start_new_session=True) as skewed:
            try:
                rig.until_status(job_id, JobStatus.SUCCEEDED)
                rig.until_status(other, JobStatus.SUCCEEDED)
            finally:
                kill_group(skewed.pid)

    for each in (job_id, other):
        assert (rig.job(each).attempt, losses(rig, each)) == (1, [])
        assert len(rig.rows(WorkSpan, each)) == 1
        assert {row.fence for row in rig.rows(Checkpoint, each)} == {1}
        rig.check_result(each)
