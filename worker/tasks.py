"""Celery's way in: wake up, look into a queue, run what waits there."""

import mmap
import os
import threading
import time
from typing import Any, Final
from uuid import uuid4

import structlog
from celery.signals import (
    celeryd_after_setup,
    task_received,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from celery.worker import state
from kombu import Exchange, Queue

from app import tracing
from app.db.engine import Database, make_engine
from app.ids import JobId
from app.jobs.models import GPU_QUEUE
from app.queue import CANARY, LOOK, CeleryDispatcher
from app.settings import Settings
from worker.canary import DEAF, Canary
from worker.celery_app import celery, settings
from worker.supervisor import Supervisor, roster_for, slots_of

log = structlog.get_logger(__name__)

IDLE_POLL: Final = 30.0
"""Seconds between two looks of an idle worker: what a lost hint can cost."""


_shared: Final = mmap.mmap(-1, 2)
"""Bytes that a Celery main process shares with its children, which it forks."""

_ENDING: Final = 0
"""Place of the byte that is set once the process is to end."""

_BUSY: Final = 1
"""Place of the byte that is set while a child has a job."""

_mailbox: Final = f"canary.{uuid4().hex}"
"""Queue of this worker alone."""


class Desk:
    """What a child process of the pool works with. Made after the fork: it inherits no connection.

    Two come here with work, the tasks and a thread that looks by itself when no hint has come
    for a while. One is let in at a time; a task that waits shows Celery that the worker is busy.
    """

    def __init__(self, settings: Settings) -> None:
        _shared[_BUSY] = False  # the child before this one may have died at work
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
            note=self._note,
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

    def _note(self, job_id: JobId | None) -> None:
        _shared[_BUSY] = job_id is not None
        self._roster.note(job_id)

    def _is_stopping(self) -> bool:
        return self._closing.is_set() or _shared[_ENDING] != 0

    def _look_by_itself(self) -> None:
        while not self._closing.wait(self._poll):
            try:
                self.look(GPU_QUEUE)
            except Exception:
                log.exception("idle_poll.failed")


_desk: Desk | None = None
_canary: Canary | None = None


@celery.task(name=LOOK)
def look(queue: str) -> None:
    """Run the jobs that wait in a queue, until there is none."""
    if _desk is not None:
        _desk.look(queue)


@celery.task(name=CANARY)
def canary() -> None:
    """Do nothing: that the message came is enough."""


@celeryd_after_setup.connect
def _listen_to_mailbox(instance: Any, **_: Any) -> None:
    mailbox = Queue(_mailbox, routing_key=_mailbox, durable=False, auto_delete=True)
    instance.app.amqp.queues.select_add(mailbox)
    mailbox.exchange = Exchange("")  # Celery has put its own there, which would remember every queue


@worker_ready.connect
def _begin_to_send_canaries(**_: Any) -> None:
    global _canary  # noqa: PLW0603  one per process, which Celery makes
    dispatcher = CeleryDispatcher(str(settings.redis_url))
    _canary = Canary(
        lambda: dispatcher.canary(_mailbox),
        lambda: _shared[_BUSY] != 0,
        _end_deaf,
        hint=settings.hint.total_seconds(),
    )
    _canary.start()


@task_received.connect
def _note_that_a_message_came(**_: Any) -> None:
    if _canary is not None:
        _canary.heard()


def _end_deaf() -> None:
    """Have Celery end as if it was told to; end by force if it does not."""
    ending: Any = state
    ending.should_stop = DEAF
    time.sleep(settings.grace.total_seconds() + 10)
    os._exit(DEAF)


@worker_process_init.connect
def _open_desk(**_: Any) -> None:
    global _desk  # noqa: PLW0603  one per process, which Celery makes
    _desk = Desk(settings)


@worker_shutting_down.connect
def _tell_children(**_: Any) -> None:
    _shared[_ENDING] = True


@worker_process_shutdown.connect
def _close_desk(**_: Any) -> None:
    if _desk is not None:
        _desk.close()
