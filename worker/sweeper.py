"""The loop that takes lost jobs back, wakes workers up, and clears away what nobody needs."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import func, select

from app.db.engine import Database
from app.jobs import leases, workers
from app.jobs.leases import Ended
from app.jobs.models import Job
from app.jobs.states import JobStatus
from app.queue import Dispatcher
from app.settings import Settings
from app.storage import ArtifactStore, StoreUnavailableError
from app.stores import store_for
from worker.failures import WORKER_LOST
from worker.housekeeping import clear_answers, clear_blobs, clear_deliveries, clear_work
from worker.leadership import Leadership
from worker.transactions import TRANSIENT

log = structlog.get_logger(__name__)

MOST_HINTS: Final = 8
"""Hints for one queue at once: several workers may be idle, and a hint too many costs nothing."""

_CLEAR_WORK_SECONDS: Final = 60.0
_CLEAR_BLOBS_SECONDS: Final = 3600.0


class Sweeper:
    """Safe to run anywhere and in any number: what it does is guarded, and one leads."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        dispatcher: Dispatcher,
        *,
        store: ArtifactStore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._settings = settings
        self._dispatcher = dispatcher
        self._store = store or store_for(settings)
        self._clock = clock
        self._leadership = Leadership(database)
        self._hinted: dict[str, tuple[float, datetime]] = {}
        self._work_cleared_at = self._blobs_cleared_at = -_CLEAR_BLOBS_SECONDS

    def run(self, wait: Callable[[float], bool]) -> None:
        """Sweep until `wait`, given the seconds to the next time, answers True."""
        try:
            while not wait(self._settings.sweep.total_seconds()):
                self.tick()
        finally:
            self._leadership.release()

    def tick(self) -> None:
        """Sweep once, if this process leads. A database that is away is tried again next time."""
        try:
            if self._leadership.held():
                self.reap()
                self.hint()
                self._clear()
        except TRANSIENT as error:
            log.warning("sweep.failed", error=type(error).__name__)
        except StoreUnavailableError as error:
            log.warning("sweep.failed", error=str(error))
        except OSError:
            log.exception("sweep.failed")

    def reap(self) -> list[Ended]:
        """Take back the jobs of owners that went silent. They have waited long enough: due at once."""
        with self._database.begin() as session:
            ended = leases.reap(
                session, now=self._database.now(session), failure=WORKER_LOST, backoff=timedelta(0)
            )
        for job in ended:
            log.warning("job.reaped", job_id=job.job_id, attempt=job.attempt, status=str(job.status))
        return ended

    def hint(self) -> None:
        """Announce queues in which jobs wait: at once if one became due, else now and then."""
        now = self._clock()
        for queue, due, newest in self._waiting():
            hinted_at, seen = self._hinted.get(queue, (0.0, None))
            again = now - hinted_at >= self._settings.hint.total_seconds()
            if seen is not None and newest <= seen and not again:
                continue
            for _ in range(min(due, MOST_HINTS)):
                self._dispatcher.hint(queue)
            self._hinted[queue] = (now, newest)

    def _waiting(self) -> list[tuple[str, int, datetime]]:
        """Return each queue with due jobs, how many they are, and when the last became due."""
        with self._database.read() as session:
            statement = (
                select(Job.queue, func.count(), func.max(Job.next_run_at))
                .where(Job.status == JobStatus.QUEUED, Job.next_run_at <= self._database.now(session))
                .group_by(Job.queue)
            )
            return [(queue, due, newest) for queue, due, newest in session.execute(statement)]

    def _forget_workers(self) -> None:
        with self._database.begin() as session:
            workers.forget_lost(session, now=self._database.now(session), lease=self._settings.lease)

    def _clear(self) -> None:
        now = self._clock()
        if now - self._work_cleared_at >= _CLEAR_WORK_SECONDS:
            self._work_cleared_at = now
            clear_work(self._database, self._settings.work_dir, keep=self._settings.keep_work)
            clear_answers(self._database)
            clear_deliveries(self._database, keep=self._settings.keep_deliveries)
            self._forget_workers()
        if now - self._blobs_cleared_at >= _CLEAR_BLOBS_SECONDS:
            self._blobs_cleared_at = now
            clear_blobs(self._database, self._store, keep=self._settings.keep_work)
