"""Celery's way in: wake up, look into a queue, run what waits there."""

import mmap
import threading
from typing import Any, Final

import structlog
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down

from app import tracing
from app.db.engine import Database, make_engine
from app.jobs.models import GPU_QUEUE
from app.queue import LOOK
from app.settings import Settings
from worker.celery_app import celery, settings
from worker.supervisor import Supervisor, roster_for, slots_of

log = structlog.get_logger(__name__)

IDLE_POLL: Final = 30.0
"""Seconds between two looks of an idle worker: what a lost hint can cost."""


_ending: Final = mmap.mmap(-1, 1)
"""A byte that a Celery main process shares with its children, which it forks: set once it is to end."""


class Desk:
    """What a child process of the pool works with. Made after the fork: it inherits no connection.

    Two come here with work, the tasks and a thread that looks by itself when no hint has come
    for a while. One is let in at a time; a task that waits shows Celery that the worker is busy.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(settings.database)
        self._closing = threading.Event()
        self._turn = threading.Lock()
        database, slots = Database(self._engine), slots_of(settings)
        self._roster = roster_for(database, settings, slots)
        self._tracers = tracing.provider_for(settings.otlp_endpoint, role="worker")
        self._supervisor = Supervisor(
            database,
            settings,
            stop=self._is_stopping,
            slots=slots,
            note=self._roster.note,
            tracers=self._tracers,
        )
        self._roster.start()
        self._poll = min(IDLE_POLL, settings.hint.total_seconds())
        self._grace = settings.grace.total_seconds()
        self._thread = threading.Thread(target=self._look_by_itself, name="idle-poll", daemon=True)
        self._thread.start()

    def look(self, queue: str) -> None:
        """Run what waits in `queue`."""
        with self._turn:
            self._supervisor.drain(queue)

    def close(self) -> None:
        """Hand back what the thread is running, if it is."""
        self._closing.set()
        self._thread.join(self._grace + 5)
        self._roster.close()
        tracing.close(self._tracers)
        self._engine.dispose()

    def _is_stopping(self) -> bool:
        return self._closing.is_set() or _ending[0] != 0

    def _look_by_itself(self) -> None:
        while not self._closing.wait(self._poll):
            try:
                self.look(GPU_QUEUE)
            except Exception:
                log.exception("idle_poll.failed")


_desk: Desk | None = None


@celery.task(name=LOOK)
def look(queue: str) -> None:
    """Run the jobs that wait in a queue, until there is none."""
    if _desk is not None:
        _desk.look(queue)


@worker_process_init.connect
def _open_desk(**_: Any) -> None:
    global _desk  # noqa: PLW0603  one per process, which Celery makes
    _desk = Desk(settings)


@worker_shutting_down.connect
def _tell_children(**_: Any) -> None:
    _ending[0] = 1


@worker_process_shutdown.connect
def _close_desk(**_: Any) -> None:
    if _desk is not None:
        _desk.close()
