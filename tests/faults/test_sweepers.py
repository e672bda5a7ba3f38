"""Several sweepers, of which one leads, and hints that are too many."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from app.ids import JobId
from app.jobs import leases
from app.jobs.states import Action, JobStatus
from tests.faults.conftest import FaultRig
from tests.worker.rig import kill_group

pytestmark = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


@contextmanager
def a_sweeper(rig: FaultRig, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mixsd", "sweeper"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=rig.environment(), start_new_session=True, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            kill_group(process.pid)


def a_lost_job(rig: FaultRig) -> JobId:
    """A job whose owner has gone silent."""
    rig.submit()
    with rig.database.begin() as session:
        now = rig.database.now(session)
        claim = leases.claim(
            session, queue="gpu", owner="me", version=9, now=now, lease=timedelta(seconds=-1)
        )
    assert claim is not None
    return claim.job_id


def test_when_the_sweeper_that_leads_is_killed_another_one_goes_on(rig: FaultRig, tmp_path: Path) -> None:
    logs = [tmp_path / f"sweeper-{number}.log" for number in range(3)]

    def leaders() -> list[int]:
        return [number for number, log in enumerate(logs) if b"sweeper.leads" in log.read_bytes()]

    with ExitStack() as stack:
        sweepers = [stack.enter_context(a_sweeper(rig, log)) for log in logs]
        rig.until(leaders)
        first = a_lost_job(rig)
        rig.until(lambda: rig.job(first).status is JobStatus.QUEUED)
        rig.act(first, Action.CANCEL)  # out of the way of the next claim
        (leader,) = leaders()

        sweepers[leader].kill()

        rig.until(lambda: len(leaders()) == 2)
        second = a_lost_job(rig)
        rig.until(lambda: rig.job(second).status is JobStatus.QUEUED)

    for job_id in (first, second):
        assert rig.events(job_id).count("job.attempt_lost") == 1
    assert len(leaders()) == 2


def test_a_hundred_hints_for_one_job_make_one_claim(rig: FaultRig) -> None:
    job_id = rig.submit()
    made: list[int] = []

    def look() -> None:
        supervisor = rig.supervisor()
        made.extend(supervisor.drain("gpu") for _ in range(13))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), sum(made)) == (104, 1)
    assert rig.events(job_id).count("job.started") == 1
    rig.check_result(job_id)
