"""Claims jobs, has a runner make each attempt, and sees to it that every attempt has an end.

Never loads torch. Call it from one long-lived thread: on Linux a runner dies with the thread
that started it.
"""

import math
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import structlog
from opentelemetry.trace import Span, StatusCode, TracerProvider
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app import tracing
from app.db.engine import Database
from app.ids import JobId
from app.jobs import gpus, leases
from app.jobs.leases import Claim, Ended, Failure
from app.jobs.models import Job
from app.projects.quotas import Quotas
from app.settings import Settings
from mixsd.config import TrainConfig
from worker import traces
from worker.child import Child
from worker.failures import HOST_OOM, OUT_OF_MEMORY, STALLED, Exit, failure_from
from worker.gpus import find_gpus
from worker.roster import Roster
from worker.slots import Held, Slots
from worker.transactions import TRANSIENT, write
from worker.watch import Cause, Ending, Watch

log = structlog.get_logger(__name__)

VERSION: Final = 7
"""Of the worker. A job may ask for a minimum."""

_STOPPED: Final = {Exit.CANCELLED, Exit.HANDED_BACK, -signal.SIGTERM}
"""Exit codes of a runner that did as it was told; the last one before it could listen."""

_PLACE_PAUSE: Final = timedelta(seconds=60)
_WAITS_FOR: Final[Mapping[int, str]] = {Exit.DISK_FULL: "waiting_disk", Exit.STORE_AWAY: "waiting_store"}
"""Why a job waits that had no place for what it made."""
_LONGEST_PAUSE: Final = timedelta(minutes=10)


def host_and_boot() -> tuple[str, str]:
    """Name this machine, and its boot: process ids mean nothing beyond it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return socket.gethostname(), boot.read_text().strip() if boot.exists() else "boot"


def owner_name() -> str:
    """Return a name for a lease: `host:pid:boot:uuid`."""
    host, boot = host_and_boot()
    return f"{host}:{os.getpid()}:{boot}:{uuid4().hex}"


def slots_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Slots:
    """Return the places for jobs on this machine."""
    return Slots(
        settings.data_dir / "run",
        find_gpus(settings, environ),
        jobs_per_gpu=settings.jobs_per_gpu,
        cpu_jobs=settings.cpu_jobs,
    )


def roster_for(database: Database, settings: Settings, slots: Slots) -> Roster:
    """Return what tells the service of a worker of this machine."""
    host, _ = host_and_boot()
    return Roster(database, settings, host=host, version=VERSION, shared=slots.gpus)


class Supervisor:
    """Runs the jobs of a queue, one at a time."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        stop: Callable[[], bool] = lambda: False,
        environ: Mapping[str, str] = os.environ,
        slots: Slots | None = None,
        note: Callable[[JobId | None], None] = lambda _: None,
        tracers: TracerProvider = tracing.OFF,
    ) -> None:
        """Set up a supervisor.

        Args:
            stop: Says, when asked, whether this process is to end. A running job is then handed
                back to the queue and nothing more is claimed.
            environ: What runners inherit from, as far as they need it.
            slots: Places for jobs on this machine; as the settings say, if they are left out.
            note: Told which job is in hand, and None when it is no longer.
            tracers: What attempts are traced with.
        """
        self._database = database
        self._settings = settings
        self._stop = stop
        self._environ = environ
        self._owner = owner_name()
        self._slots = slots or slots_of(settings, environ)
        self._note = note
        self._tracers = tracers

    def drain(self, queue: str) -> int:
        """Run jobs until none can be claimed. Returns how many attempts were made."""
        made = 0
        while not self._stop() and self.run_one(queue):
            made += 1
        return made

    def run_one(self, queue: str) -> bool:
        """Make one attempt at the first job that waits and has room. False without one, or a database."""
        claimed_at = time.monotonic()
        try:
            claim, held = self._claim(queue)
        except TRANSIENT as error:
            log.warning("job.claim_failed", queue=queue, error=type(error).__name__)
            return False
        if claim is None:
            return False
        with structlog.contextvars.bound_contextvars(job_id=claim.job_id, attempt=claim.attempt):
            log.info("job.claimed", **held.environment)
            self._note(claim.job_id)
            try:
                with traces.attempt(self._tracers, claim) as span:
                    self._attend(claim, claimed_at, held, span)
            finally:
                held.close()
                self._note(None)
        return True

    def _claim(self, queue: str) -> tuple[Claim | None, Held]:
        """Take a job, and the places that it runs on."""
        with self._slots.choosing() as free:
            if not free:
                return None, Held()
            with self._database.begin() as session:
                now = self._database.now(session)
                claim = leases.claim(
                    session,
                    queue=queue,
                    owner=self._owner,
                    version=VERSION,
                    now=now,
                    lease=self._settings.lease,
                    defaults=Quotas.by_default(self._settings),
                    room=self._room(queue, free.count, now) if self._slots.capacity else None,
                )
            return claim, free.keep(claim.gpus) if claim else Held()

    def _room(self, queue: str, free: int, now: datetime) -> ColumnElement[bool]:
        return gpus.room(
            queue=queue,
            free=free,
            capacity=self._slots.capacity,
            now=now,
            patience=self._settings.gpu_patience,
            lease=self._settings.lease,
        )

    def _attend(self, claim: Claim, claimed_at: float, held: Held, span: Span) -> None:
        try:
            ending = self._run(claim, claimed_at, held)
        except OSError:  # no process to be had, or no folder
            log.exception("runner.not_started")
            ending = Ending(Exit.DEFECT, None)
        log.info("runner.ended", code=ending.code, cause=ending.cause and ending.cause.name)
        try:
            ended = write(
                self._database,
                lambda session: self.settle(session, claim, ending),
                patience=self._settings.lease,
            )
        except TRANSIENT:
            log.exception("job.not_settled")  # its lease will run out
        else:
            if ended is not None:
                log.info("job.settled", status=str(ended.status))
            self._trace(claim, ending, ended, span)

    def _trace(self, claim: Claim, ending: Ending, ended: Ended | None, span: Span) -> None:
        if not tracing.is_on(self._tracers):
            return
        span.set_attribute("mixsd.exit_code", ending.code)
        if ended is not None:
            span.set_attribute("mixsd.status", str(ended.status))
        if ending.code != Exit.PUBLISHED and ending.code not in _STOPPED:
            span.set_status(StatusCode.ERROR)
        try:
            traces.add_phases(self._tracers, self._database, claim, span)
        except TRANSIENT as error:
            log.warning("trace.incomplete", error=type(error).__name__)

    def _run(self, claim: Claim, claimed_at: float, held: Held) -> Ending:
        settings, environ = self._settings, self._environ
        if held.environment:  # the runner sees only its own GPUs, and numbers them from 0
            settings = settings.model_copy(update={"device": settings.device.partition(":")[0]})
            environ = {**environ, **held.environment}
        child = Child(claim, settings, environ, keep_open=held.descriptors)
        try:
            watch = Watch(
                self._database, self._settings, claim, child, claimed_at=claimed_at, stop=self._stop
            )
            return watch.run()
        finally:
            child.close()

    def settle(self, session: Session, claim: Claim, ending: Ending) -> Ended | None:
        """Write what follows from the way the runner ended. None if its verdict stands already.

        Every statement names the fence, so after a publish, or for a job that was lost, each of
        them does nothing. That makes "crash" the safe reading of whatever else happened.
        """
        match ending:
            case Ending(cause=Cause.LEASE_LOST) | Ending(code=Exit.LEASE_LOST):
                return None
            case Ending(cause=Cause.STALLED | Cause.OUT_OF_HOST_MEMORY as cause):
                return self._crash(session, claim, STALLED if cause is Cause.STALLED else HOST_OOM)
            case Ending(code=Exit.OUT_OF_MEMORY):
                return self._shrink(session, claim)
            case Ending(code=Exit.DISK_FULL | Exit.STORE_AWAY as code):
                return self._release(session, claim, delay=_PLACE_PAUSE, why=_WAITS_FOR[code])
            case Ending(code, cause) if code in _STOPPED or cause in {Cause.ASKED, Cause.SELF_FENCED}:
                return self._release(session, claim)
            case Ending(code=code):
                return self._crash(session, claim, failure_from(code))

    def _release(self, session: Session, claim: Claim, **how: Any) -> Ended | None:
        return leases.release(session, claim.job_id, claim.fence, now=self._database.now(session), **how)

    def _crash(self, session: Session, claim: Claim, failure: Failure) -> Ended | None:
        """Take the job back; each crash in a row doubles the wait, which begins with a heartbeat."""
        crashes = session.scalars(select(Job.crash_streak).where(Job.id == claim.job_id)).one_or_none() or 0
        pause = min(self._settings.heartbeat * 2**crashes, _LONGEST_PAUSE)
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  not a secret
        return leases.crash(
            session,
            claim.job_id,
            claim.fence,
            failure,
            now=self._database.now(session),
            backoff=pause * jitter,
        )

    def _shrink(self, session: Session, claim: Claim) -> Ended | None:
        """Try again in a new process with half the rows at a time. That is no crash."""
        job = session.scalars(select(Job).where(Job.id == claim.job_id)).one_or_none()
        if job is None:  # lost, ended and deleted in the meantime
            return None
        batch = job.training.get("batch_size") or TrainConfig().batch_size
        share = math.ceil(batch / (job.training.get("processes") or 1))
        rows: int = job.micro_batch_override or job.training.get("micro_batch") or share
        if rows <= 1:
            now = self._database.now(session)
            return leases.fail(session, claim.job_id, claim.fence, OUT_OF_MEMORY, now=now)
        log.warning("job.out_of_memory", micro_batch=rows // 2)
        return self._release(
            session,
            claim,
            why="out_of_memory",
            micro_batch_override=rows // 2,
            oom_count=Job.oom_count + 1,
        )
