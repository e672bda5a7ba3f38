"""Composition root of the workers of a team: Celery, which only wakes them up.

A message says "look into this queue" and is acknowledged before anything happens. Losing,
repeating or delaying one is harmless, so Celery keeps no results and redelivers nothing.
"""

from typing import Any, Final

from celery import Celery
from celery.signals import setup_logging, worker_shutdown
from celery.worker import state
from kombu import Exchange, Queue

from app import (
    log,
    tables,  # noqa: F401  foreign keys resolve only once every table is known
)
from app.jobs.models import GPU_QUEUE
from app.queue import KEY_PREFIX
from app.settings import Settings

TRANSPORT: Final[dict[str, Any]] = {
    "global_keyprefix": KEY_PREFIX,
    "visibility_timeout": 300,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
}


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application of `settings`. It needs a broker only once it runs."""
    celery = Celery("mixsd", broker=str(settings.redis_url or "memory://"), include=["worker.tasks"])
    celery.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        # The lease redelivers. A late acknowledgement would hand a long job to a second worker.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # One job at a time, and never keep a message while busy.
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_max_tasks_per_child=100,
        worker_proc_alive_timeout=15,
        worker_soft_shutdown_timeout=settings.grace.total_seconds(),
        worker_enable_soft_shutdown_on_idle=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        broker_transport="worker.transport:Transport" if settings.redis_url else None,
        broker_transport_options=TRANSPORT,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry=False,
        task_create_missing_queues=False,
        task_default_queue=GPU_QUEUE,
        task_queues=[Queue(GPU_QUEUE, Exchange(GPU_QUEUE), routing_key=GPU_QUEUE)],
    )
    return celery


def exit_status() -> int:
    """Return the status with which a worker that has ended should exit, which Celery keeps to itself."""
    ended: Any = state
    return int(ended.should_stop or _ended_with.get("status") or 0)


_ended_with: dict[str, Any] = {}

settings = Settings()
celery = make_celery(settings)


@worker_shutdown.connect
def _note_status(sender: Any, **_: Any) -> None:
    """Note that a worker ends because of an error, if that is so."""
    _ended_with["status"] = sender.exitcode


@setup_logging.connect
def _log_in_our_form(**_: Any) -> None:
    """Keep Celery from setting up logs of its own."""
    log.configure(json=settings.log_json)
