"""Telling the service that a worker is there: one write for each heartbeat, by a thread of its own."""

import os
import threading
from collections.abc import Callable, Sequence
from importlib import metadata

import structlog

from app.clock import utc_now
from app.db.engine import Database
from app.ids import JobId, WorkerId, new_id
from app.jobs import workers
from app.jobs.workers import Introduction, Report
from app.settings import Settings
from worker import gpus
from worker.gpus import Gpu
from worker.transactions import TRANSIENT

log = structlog.get_logger(__name__)


class Roster:
    """Keeps the row of a worker. What goes wrong here stops no job."""

    def __init__(
        self, database: Database, settings: Settings, *, host: str, version: int, shared: Sequence[Gpu]
    ) -> None:
        device = "cuda" if shared else settings.device
        self.who = Introduction(
            WorkerId(new_id("wrk", now=utc_now())),
            host=host,
            pid=os.getpid(),
            version=version,
            release=metadata.version("mixsd"),
            device="cpu" if device == "auto" else device,
            capacity=len(shared),
        )
        self._database = database
        self._heartbeat = settings.heartbeat.total_seconds()
        self._gpus = shared
        self._job_id: JobId | None = None
        self._changed = threading.Event()
        self._closing = False
        self._is_known = True
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def note(self, job_id: JobId | None) -> None:
        """Say which job the worker has, at once. Does not wait."""
        self._job_id = job_id
        self._changed.set()

    def close(self) -> None:
        """Say that the worker ends."""
        self._closing = True
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(self._heartbeat)

    def beat(self) -> None:
        """Write that the worker lives, and what it does."""
        report = Report(self._job_id, gpus.report(self._gpus))
        with self._database.begin() as session:
            workers.check_in(session, self.who, report, now=self._database.now(session))

    def _run(self) -> None:
        while not self._closing:
            self._try(self.beat)
            self._changed.wait(self._heartbeat)
            self._changed.clear()
        self._try(self._check_out)

    def _check_out(self) -> None:
        with self._database.begin() as session:
            workers.check_out(session, self.who.id)

    def _try(self, what: Callable[[], None]) -> None:
        """Do it, and say once if it fails: the next heartbeat comes soon."""
        try:
            what()
        except TRANSIENT as error:
            if self._is_known:
                log.warning("worker.not_noted", error=type(error).__name__)
            self._is_known = False
        except Exception:  # whatever it is, jobs go on
            log.exception("worker.not_noted")
        else:
            self._is_known = True
