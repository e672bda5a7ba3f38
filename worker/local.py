"""The worker inside `mixsd up`: sweeper, supervisor and postman as threads of one process, no broker."""

import fcntl
import os
import threading
from contextlib import suppress
from datetime import timedelta
from typing import IO, Final

import structlog
from opentelemetry.trace import TracerProvider
from sqlalchemy import select

from app import tracing
from app.db.engine import Database
from app.jobs import leases
from app.jobs.models import GPU_QUEUE, Job
from app.jobs.states import OWNED
from app.queue import NullDispatcher
from app.settings import Settings
from worker.failures import WORKER_LOST
from worker.supervisor import Supervisor, host_and_boot, roster_for, slots_of
from worker.sweeper import Sweeper
from worker.transactions import TRANSIENT
from worker.webhooks.postman import Postman

log = structlog.get_logger(__name__)

_TO_SETTLE: Final = 5.0
"""Seconds beyond the grace of a runner in which its supervisor ends."""


class DataFolderInUseError(Exception):
    """Another process works on the data folder."""


class LocalWorker:
    """Runs the jobs of one machine: as many at a time as its GPUs hold, one without any.

    It may share its `database` with the API of the same process, and does not close it.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._slots = slots_of(settings)
        self._tracers: TracerProvider = tracing.OFF
        self._threads = [
            threading.Thread(target=self._supervise, name=f"supervisor-{number}", daemon=True)
            for number in range(self._slots.most_jobs or 1)
        ]
        self._threads += [
            threading.Thread(target=self._sweep, name="sweeper", daemon=True),
            threading.Thread(target=self._tell, name="postman", daemon=True),
        ]

    def start(self) -> None:
        """Begin to run jobs. Those of a process of this machine that died are taken back at once.

        Raises:
            DataFolderInUseError: Another worker has the data folder.
            TracingExtraMissingError: Traces are asked for, and the extra for them is missing.
        """
        self.acquire()
        self._tracers = tracing.provider_for(self._settings.otlp_endpoint, role="worker")
        reap_dead_owners(self._database)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Hand a running job back, and end."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(self._settings.grace.total_seconds() + _TO_SETTLE)
        tracing.close(self._tracers)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def acquire(self) -> None:
        """Take the data folder for this process, until `stop`. Once is enough.

        Raises:
            DataFolderInUseError: Another worker has it.
        """
        if self._lock is not None:
            return
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        path = self._settings.data_dir / "mixsd.lock"
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DataFolderInUseError(
                f"the data folder {self._settings.data_dir} is in use by process {holder}: "
                "stop it, or choose another folder with --data"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _supervise(self) -> None:
        roster = roster_for(self._database, self._settings, self._slots)
        supervisor = Supervisor(
            self._database,
            self._settings,
            stop=self._stopping.is_set,
            slots=self._slots,
            note=roster.note,
            tracers=self._tracers,
        )
        roster.start()
        while not self._stopping.wait(self._settings.idle_poll.total_seconds()):
            try:
                supervisor.drain(GPU_QUEUE)
            except Exception:  # whatever it is, the next job deserves a worker
                log.exception("supervisor.failed")
        roster.close()

    def _sweep(self) -> None:
        Sweeper(self._database, self._settings, NullDispatcher()).run(self._stopping.wait)

    def _tell(self) -> None:
        Postman.of(self._database, self._settings).run(self._stopping.wait)


def reap_dead_owners(database: Database) -> None:
    """Take back jobs whose owner was a process of this machine that is gone.

    A process id that was given to somebody else keeps its job until the lease is over.
    """
    host, boot = host_and_boot()
    with suppress(*TRANSIENT), database.begin() as session:
        owners = session.scalars(select(Job.lease_owner).where(Job.status.in_(OWNED))).all()
        dead = [owner for owner in owners if owner and _is_dead(owner, host, boot)]
        if dead:
            now = database.now(session)
            leases.reap_from(session, dead, now=now, failure=WORKER_LOST, backoff=timedelta(0))


def _is_dead(owner: str, host: str, boot: str) -> bool:
    where, pid, when, *_ = [*owner.split(":"), "", ""]
    if where != host or not pid.isdigit():
        return False
    return when != boot or not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
