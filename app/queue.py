"""Hand-over to the workers. Knows the name of their task, not its code: no torch here.

The job's row is the truth. A hint only says "look", so one that is lost or repeated is harmless.
"""

import time
from typing import Final, Protocol

import structlog
from celery import Celery
from kombu import Exchange, Queue

log = structlog.get_logger(__name__)

LOOK: Final = "worker.look"
"""Task that claims jobs of the queue it is given, for as long as there are any."""

CANARY: Final = "worker.canary"
"""Task that does nothing: a worker sends it to itself, to see whether it still hears anything."""

EXPIRES: Final = 60
"""Seconds after which a hint is dropped unread: by then the sweeper has sent another one."""

REST: Final = 10
"""Seconds without hints after one that was lost."""

KEY_PREFIX: Final = "mixsd:"
"""Of everything that we keep in Redis, which may be shared."""


class Dispatcher(Protocol):
    """Tells workers to look for a job. Never raises: the sweeper comes again."""

    def hint(self, queue: str) -> None: ...

    def ping(self) -> bool:
        """Say whether the broker answers."""
        ...

    def close(self) -> None: ...


class NullDispatcher:
    """For workers that look at the table by themselves, such as that of `mixsd up`."""

    def hint(self, queue: str) -> None:
        pass

    def ping(self) -> bool:
        return True

    def close(self) -> None:
        pass


class CeleryDispatcher:
    """Sends hints through Redis. Each call returns within a few seconds, whatever Redis does.

    After a hint that was lost none is sent for a while: callers wait in vain once, not each time.
    """

    def __init__(self, redis_url: str) -> None:
        self._rest_until = 0.0
        self._celery = Celery(broker=redis_url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            task_publish_retry=False,
            task_serializer="json",
            broker_transport_options={
                "socket_timeout": 2,
                "socket_connect_timeout": 2,
                "socket_keepalive": True,
                "max_retries": 1,
                "global_keyprefix": KEY_PREFIX,
            },
        )

    def hint(self, queue: str) -> None:
        if time.monotonic() < self._rest_until:
            return
        try:
            self._celery.send_task(LOOK, args=[queue], queue=queue, expires=EXPIRES, retry=False)
        except Exception as error:  # noqa: BLE001  kombu lets many kinds through, and none may reach the caller
            self._rest_until = time.monotonic() + REST
            log.warning("hint.lost", queue=queue, error=type(error).__name__)

    def canary(self, mailbox: str) -> bool:
        """Send a message that does nothing to the queue of one worker. Says whether it was taken.

        The queue lasts no longer than its last message: the worker may be killed before it reads that.
        """
        try:
            # The exchange without a name leads straight to a queue, and leaves no trace of it behind.
            queue = Queue(mailbox, Exchange(""), routing_key=mailbox, expires=EXPIRES)
            self._celery.amqp.queues[mailbox] = queue
            self._celery.send_task(CANARY, queue=mailbox, expires=EXPIRES, retry=False)
        except Exception as error:  # noqa: BLE001  as above
            log.warning("canary.lost", error=type(error).__name__)
            return False
        return True

    def ping(self) -> bool:
        try:
            with self._celery.connection_for_write(connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except Exception as error:  # noqa: BLE001  as above
            log.warning("broker.unreachable", error=type(error).__name__)
            return False
        return True

    def close(self) -> None:
        self._celery.close()
