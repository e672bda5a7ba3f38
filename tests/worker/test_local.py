"""The worker inside `mixsd up`."""

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import httpx2
import pytest

from app.ids import JobId
from app.jobs import leases
from app.jobs.states import JobStatus, Phase
from tests.worker.rig import TESTING, Rig
from worker.local import DataFolderInUseError, LocalWorker, reap_dead_owners
from worker.supervisor import owner_name

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _fake_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TESTING.items():
        monkeypatch.setenv(name, value)


def claimed_by(rig: Rig, owner: str) -> JobId:
    job_id = rig.submit()
    with rig.database.begin() as session:
        now = rig.database.now(session)
        leases.claim(session, queue="gpu", owner=owner, version=9, now=now, lease=timedelta(hours=1))
    return job_id


def a_dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_it_runs_jobs_until_it_is_stopped_and_then_hands_back(rig: Rig) -> None:
    first = rig.submit()
    worker = LocalWorker(rig.database, rig.settings)
    worker.start()
    rig.until_status(first, JobStatus.SUCCEEDED)
    second = rig.submit(stays_in=Phase.TRAINING)
    rig.until_phase(second, Phase.TRAINING)

    worker.stop()

    job = rig.job(second)
    assert (job.status, job.attempt_open, job.crash_streak) == (JobStatus.QUEUED, True, 0)
    rig.check_result(first)


def test_a_second_worker_on_the_same_folder_is_refused(rig: Rig) -> None:
    first, second = LocalWorker(rig.database, rig.settings), LocalWorker(rig.database, rig.settings)
    first.start()

    with pytest.raises(DataFolderInUseError, match=f"in use by process {os.getpid()}.*--data"):
        second.start()
    second.stop()
    first.stop()

    second = LocalWorker(rig.database, rig.settings)
    second.start()
    second.stop()


def test_jobs_of_dead_processes_of_this_machine_are_taken_back_at_once(rig: Rig) -> None:
    host, _, boot, name = owner_name().split(":")
    dead = claimed_by(rig, f"{host}:{a_dead_process()}:{boot}:{name}")
    before_the_boot = claimed_by(rig, f"{host}:{os.getpid()}:earlier:{name}")
    alive = claimed_by(rig, owner_name())
    elsewhere = claimed_by(rig, f"not-{host}:1:{boot}:{name}")

    reap_dead_owners(rig.database)

    statuses = [rig.job(job).status for job in (dead, before_the_boot, alive, elsewhere)]
    assert statuses == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RUNNING]


def run_mixsd(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixsd", *arguments],
        env=rig.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_port_that_is_in_use_is_one_line_of_error(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_mixsd(rig, "up", "--port", str(port))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"mixsd: cannot listen on 127.0.0.1 port {port}: Address already in use. "
        "Choose another one with --port\n"
    )


def test_up_refuses_a_folder_that_is_in_use(rig: Rig) -> None:
    worker = LocalWorker(rig.database, rig.settings)
    worker.acquire()

    ended = run_mixsd(rig, "up", "--port", "0")

    worker.stop()
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"mixsd: the data folder {rig.settings.data_dir} is in use by process")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_serves_until_it_is_told_to_stop(rig: Rig, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "mixsd", "up", "--port", "0"]
    with subprocess.Popen(command, env=rig.environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().removeprefix("MixSD listens on ").strip()
            assert httpx2.get(f"{url}/healthz", timeout=300).status_code == 200
            process.send_signal(number)
            assert process.wait(timeout=300) == 0
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()


def test_db_upgrade_makes_the_tables(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(
        update={"database_url": "", "data_dir": rig.settings.data_dir / "new"}
    )

    assert run_mixsd(rig, "db", "upgrade").returncode == 0

    assert (rig.settings.data_dir / "mixsd.db").stat().st_size > 0
