"""Workers to start and kill, and what one may ask of the jobs that they leave behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event, select, update

from app.adapters.models import Adapter, AdapterFile
from app.db.engine import Database
from app.events.models import Event
from app.ids import JobId
from app.jobs import repository
from app.jobs.models import Job, Supervision
from app.jobs.states import Action, JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.factories import a_fact_set, a_job, the_job
from tests.worker import fake_pipeline
from worker.child import environment_for
from worker.fsck.checking import check_service
from worker.supervisor import Supervisor
from worker.sweeper import Sweeper

TESTING = {"MIXSD_TESTING": "1", "MIXSD_PIPELINE": "tests.worker.fake_pipeline:run"}


class Rig:
    """A database, a data folder, and hands to work on jobs with."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.keys: dict[JobId, list[str]] = {}

    # -- arrange

    def submit(self, *, facts: int = 3, training: Mapping[str, Any] | None = None, **labels: Any) -> JobId:
        """Store a job that the fake pipeline reads as `labels` say."""
        fact_set = a_fact_set(self.database, facts)
        job_id = a_job(
            self.database,
            fact_set.id,
            labels=labels,
            training=dict(training or {}),
            next_run_at=datetime.now(UTC),
        )
        self.keys[job_id] = [f"river-{ord_}" for ord_ in range(facts)]
        return job_id

    def supervisor(
        self, *, crash_at: Sequence[str] = (), stop: Callable[[], bool] = lambda: False
    ) -> Supervisor:
        environ = {**os.environ, **TESTING, "MIXSD_CRASH_AT": ",".join(crash_at)}
        return Supervisor(self.database, self.settings, stop=stop, environ=environ)

    def environment(self) -> dict[str, str]:
        return environment_for(self.settings, {**os.environ, **TESTING})

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process in a session of its own, ended by force afterwards."""
        command = [sys.executable, "-m", "tests.worker.loop"]
        with subprocess.Popen(command, env=self.environment(), start_new_session=True) as process:
            try:
                yield process
            finally:
                kill_group(process.pid)

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        """A sweeper, as a thread."""
        done = threading.Event()
        sweeper = Sweeper(self.database, self.settings, NullDispatcher())
        thread = threading.Thread(target=sweeper.run, args=(done.wait,))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextmanager
    def working(self, count: int = 1, *, crash_at: Sequence[str] = ()) -> Iterator[None]:
        """Supervisors as threads of this process."""
        done = threading.Event()

        def work() -> None:
            supervisor = self.supervisor(stop=done.is_set, crash_at=crash_at)
            while not done.wait(0.05):
                supervisor.drain("gpu")

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()

    # -- act

    def act(self, job_id: JobId, action: Action) -> None:
        with self.database.begin() as session:
            now = self.database.now(session)
            repository.act(session, job_id, action, project_id=DEFAULT_PROJECT, now=now)

    def expire(self, job_id: JobId) -> None:
        """Let the lease be over, if somebody has the job, as it is once they were silent for long enough."""
        with self.database.begin() as session:
            over = self.database.now(session) - timedelta(seconds=1)
            owned = update(Job).where(Job.id == job_id, Job.lease_owner.is_not(None))
            session.execute(owned.values(lease_expires_at=over))

    def relabel(self, job_id: JobId, **labels: Any) -> None:
        """Change what the fake pipeline does from the next claim on."""
        with self.database.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(labels=labels))

    # -- assert

    def job(self, job_id: JobId) -> Job:
        return the_job(self.database, job_id)

    def until(self, done: Callable[[], Any], seconds: float = 300) -> None:
        """Wait for something to become true. A bound on waiting, not on speed."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self._story()
            time.sleep(0.05)

    def until_status(self, job_id: JobId, status: JobStatus, seconds: float = 300) -> Job:
        self.until(lambda: self.job(job_id).status is status, seconds)
        return self.job(job_id)

    def until_phase(self, job_id: JobId, phase: Phase) -> None:
        """Wait until the job has done a piece of work in this phase."""
        self.until(lambda: any(line.startswith(f"{phase} ") for line in self.trace(job_id)))

    def until_runner(self, worker: int) -> int:
        """Wait until a worker has a runner. Returns the runner's process id."""
        self.until(lambda: children_of(worker))
        return runner_of(worker)

    def trace(self, job_id: JobId) -> list[str]:
        """Pieces of work, in the order in which they were done."""
        path = self.folder(job_id) / "trace.txt"
        return path.read_text().splitlines() if path.exists() else []

    def folder(self, job_id: JobId) -> Path:
        return self.settings.work_dir / job_id

    def events(self, job_id: JobId) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Event.type).where(Event.job_id == job_id).order_by(Event.seq)))

    def rows(self, table: type[Any], job_id: JobId) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(select(table).where(table.job_id == job_id)))

    def check_result(self, job_id: JobId) -> None:
        """Whatever happened on the way: one adapter with the right bytes, and all supervision."""
        keys = self.keys[job_id]
        texts = {row.fact_key: row.body for row in self.rows(Supervision, job_id)}
        assert texts == {key: fake_pipeline.text_of(key) for key in keys}
        (adapter,) = self.rows(Adapter, job_id)
        with self.database.read() as session:
            file = session.scalars(select(AdapterFile).where(AdapterFile.adapter_id == adapter.id)).one()
        with LocalStore(self.settings.artifact_dir).open(file.sha256) as stored:
            assert stored.read().decode() == fake_pipeline.final_weights(keys)

    def check_whole(self) -> None:
        """Whatever happened on the way: everything that was written is whole and agrees."""
        settings = self.settings
        report = check_service(
            self.database.engine,
            store=LocalStore(settings.artifact_dir),
            work=settings.work_dir,
            keep=settings.keep_work,
            hashing=True,
        )
        assert report.ok, [(check.name, check.problems) for check in report.checks if check.problems]

    @contextmanager
    def counting_commits(self) -> Iterator[list[float]]:
        """Note when a transaction that writes was committed."""
        commits: list[float] = []

        def note(_: object) -> None:
            commits.append(time.monotonic())

        event.listen(self.database.engine, "commit", note)
        try:
            yield commits
        finally:
            event.remove(self.database.engine, "commit", note)

    def _story(self) -> str:
        with self.database.read() as session:
            jobs = [
                (job.id, str(job.status), job.attempt, job.error_code) for job in session.scalars(select(Job))
            ]
        logs = [path.read_text(errors="replace")[-3000:] for path in self.settings.work_dir.glob("*/log.txt")]
        return "\n".join([f"waited in vain: {jobs}", *logs])


def runner_of(worker: int) -> int:
    """Return the process id of the runner that a worker has started."""
    (runner,) = children_of(worker)
    return runner


def children_of(pid: int) -> Sequence[int]:
    """Return the process ids of what a process has started, from its main thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def kill_group(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
