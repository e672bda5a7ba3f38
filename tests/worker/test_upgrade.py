"""From the version before to this one, with jobs in every state, on both databases."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, update

import migrations
from app.jobs.models import Job
from app.jobs.states import JobStatus
from tests.worker.finished import PIPELINE, a_finished_job, claimed, finish
from tests.worker.rig import Rig
from worker.supervisor import VERSION, Supervisor

DIES: Final = """
import os, signal, sys
from sqlalchemy import event
import migrations
from app.db.engine import make_engine

engine = make_engine(sys.argv[1])

@event.listens_for(engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.startswith("UPDATE alembic_version"):
        os.kill(os.getpid(), signal.SIGKILL)

migrations.upgrade(engine)
"""
"""Makes all changes of a migration, and is killed before it can commit them."""


@pytest.fixture
def config(rig: Rig) -> Iterator[Config]:
    """Alembic's; the database is at the newest schema again afterwards."""
    config = migrations.config_for(rig.database.engine)
    yield config
    command.upgrade(config, "head")


def revision(rig: Rig) -> str | None:
    with rig.database.engine.connect() as connection:
        return migrations.current(connection)


def columns(rig: Rig) -> dict[str, dict[str, Any]]:
    looking = inspect(rig.database.engine)
    return {
        f"{table}.{column['name']}": dict(column)
        for table in looking.get_table_names()
        for column in looking.get_columns(table)
    }


def test_jobs_in_every_state_survive_an_upgrade_and_are_finished_after_it(rig: Rig, config: Config) -> None:
    done = a_finished_job(rig)
    running = rig.submit(pace=0)
    claim = claimed(rig)
    assert claim is not None
    waiting = rig.submit(pace=0)
    held = (rig.job(running).fence, rig.job(running).lease_expires_at)
    command.downgrade(config, "-1")
    assert revision(rig) != migrations.newest()

    migrations.upgrade(rig.database.engine)

    rig.check_whole()
    job = rig.job(running)
    assert (job.status, (job.fence, job.lease_expires_at)) == (JobStatus.RUNNING, held)
    finish(rig, claim)  # the worker that holds it goes on as if nothing had been
    later = claimed(rig)
    assert later is not None
    assert later.job_id == waiting
    finish(rig, later)
    for job_id in (done, running, waiting):
        assert rig.job(job_id).status is JobStatus.SUCCEEDED
        rig.check_result(job_id)


def test_what_the_version_before_writes_and_reads_is_still_there(rig: Rig, config: Config) -> None:
    """So its processes go on working until they are replaced, and none of them ends in a loop."""
    now = columns(rig)
    command.downgrade(config, "-1")
    before = columns(rig)

    assert before.keys() <= now.keys()
    for name in now.keys() - before.keys():
        column = now[name]
        table = name.partition(".")[0]
        is_new_table = not any(other.startswith(f"{table}.") for other in before)
        assert is_new_table or column["nullable"] or column["default"] is not None, name


def test_a_worker_of_before_leaves_jobs_that_need_a_newer_one_and_does_the_others(rig: Rig) -> None:
    newer, older = rig.submit(pace=0), rig.submit(pace=0)
    with rig.database.begin() as session:
        session.execute(update(Job).where(Job.id == newer).values(min_worker_version=VERSION))

    claim = claimed(rig, version=VERSION - 1)

    assert claim is not None
    assert claim.job_id == older
    finish(rig, claim)
    for _ in range(3):  # and it goes on asking
        assert claimed(rig, version=VERSION - 1) is None
    job = rig.job(newer)
    assert (job.status, job.attempt, job.fence, job.crash_streak) == (JobStatus.QUEUED, 0, 0, 0)
    mine = claimed(rig)
    assert mine is not None
    finish(rig, mine)


def test_a_supervisor_passes_a_job_of_the_next_version_over(rig: Rig) -> None:
    job_id = rig.submit()
    with rig.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(min_worker_version=VERSION + 1))
    supervisor = Supervisor(rig.database, rig.settings, environ={"MIXSD_PIPELINE": PIPELINE})

    assert [supervisor.run_one("gpu") for _ in range(3)] == [False] * 3

    assert rig.events(job_id) == []
    assert rig.job(job_id).status is JobStatus.QUEUED


def test_a_migration_that_is_killed_before_its_end_has_changed_nothing(rig: Rig, config: Config) -> None:
    job_id = rig.submit()
    command.downgrade(config, "-1")
    before = (revision(rig), columns(rig).keys())

    died = subprocess.run([sys.executable, "-c", DIES, rig.settings.database], check=False)

    assert died.returncode == -signal.SIGKILL
    assert (revision(rig), columns(rig).keys()) == before
    migrations.upgrade(rig.database.engine)
    assert revision(rig) == migrations.newest()
    assert rig.job(job_id).status is JobStatus.QUEUED
