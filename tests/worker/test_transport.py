"""What a worker makes of the bytes in its queue."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import redis
from celery import Celery
from kombu import Consumer, Message, Queue
from pydantic import RedisDsn
from structlog.testing import capture_logs

from app.queue import CANARY, LOOK, CeleryDispatcher
from app.settings import Settings
from worker.celery_app import TRANSPORT, make_celery


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def celery(redis_url: str) -> Iterator[Celery]:
    with make_celery(Settings(redis_url=RedisDsn(redis_url))) as celery:
        patient = {"socket_timeout": 300, "socket_connect_timeout": 300}
        celery.conf.broker_transport_options = {**TRANSPORT, **patient}
        yield celery


def received(celery: Celery, queue: str, *, until: Callable[[list[str]], object]) -> list[str]:
    """Return the tasks that a worker would see: until it is enough, and what comes right after that."""
    tasks: list[str] = []

    def receive(message: Message) -> None:
        tasks.append(message.headers["task"])
        message.ack()

    with celery.connection_for_read() as connection:
        consumer = Consumer(connection, Queue(queue), on_message=receive)
        with consumer:
            enough, deadline = False, time.monotonic() + 300
            while not enough and time.monotonic() < deadline:
                enough = bool(until(tasks))
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)
    return tasks


def test_what_is_no_message_is_dropped_with_a_line_in_the_log_and_what_comes_after_is_read(
    celery: Celery, redis_url: str, broker: redis.Redis
) -> None:
    dispatcher = CeleryDispatcher(redis_url)
    broker.lpush("mixsd:gpu", b"\xff junk", b'{"headers": {}}')
    dispatcher.hint("gpu")

    with capture_logs() as logs:
        assert received(celery, "gpu", until=len) == [LOOK]

    dropped = [line for line in logs if line["event"] == "message.dropped"]
    assert [(line["queue"], line["bytes"], line["error"]) for line in dropped] == [
        ("mixsd:gpu", 6, "UnicodeDecodeError"),
        ("mixsd:gpu", 15, "ValidationError"),
    ]
    dispatcher.canary("canary.mine")
    assert received(celery, "canary.mine", until=len) == [CANARY]
    dispatcher.close()
    assert broker.hlen("mixsd:unacked") == 0


def test_what_has_the_name_of_the_queue_and_is_none_is_deleted(
    celery: Celery, redis_url: str, broker: redis.Redis
) -> None:
    broker.set("mixsd:gpu", "somebody's")
    broker.set("mixsd:else", "somebody's")

    with capture_logs() as logs:
        assert received(celery, "gpu", until=lambda _: not broker.exists("mixsd:gpu")) == []

    assert [line["queue"] for line in logs if line["event"] == "queue.dropped"] == ["gpu"]
    dispatcher = CeleryDispatcher(redis_url)
    dispatcher.hint("gpu")
    dispatcher.close()
    assert received(celery, "gpu", until=len) == [LOOK]
    assert broker.get("mixsd:else") == b"somebody's"


def test_without_a_broker_there_is_nothing_to_read() -> None:
    assert make_celery(Settings(redis_url=None)).conf.broker_transport is None
