"""What a worker makes of the bytes in its queue."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from celery import Celery
from kombu import Consumer, Message, Queue
from pydantic import RedisDsn
from structlog.testing import capture_logs

from app.queue import CANARY, LOOK, CeleryDispatcher
from app.settings import Settings
from worker.celery_app import make_celery


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def celery(redis_url: str) -> Iterator[Celery]:
    with make_celery(Settings(redis_url=RedisDsn(redis_url))) as celery:
        yield celery


def received(celery: Celery, queue: str) -> list[str]:
    """Return the tasks that a worker would see, up to when nothing has come for some seconds."""
    tasks: list[str] = []

    def receive(message: Message) -> None:
        tasks.append(message.headers["task"])
        message.ack()

    with celery.connection_for_read() as connection:
        consumer = Consumer(connection, Queue(queue), on_message=receive)
        with consumer, suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=3)
    return tasks


def test_what_is_no_message_is_dropped_with_a_line_in_the_log_and_what_comes_after_is_read(
    celery: Celery, redis_url: str, broker: redis.Redis
) -> None:
    dispatcher = CeleryDispatcher(redis_url)
    broker.lpush("mixsd:gpu", b"\xff junk", b'{"headers": {}}')
    dispatcher.hint("gpu")

    with capture_logs() as logs:
        assert received(celery, "gpu") == [LOOK]

    dropped = [line for line in logs if line["event"] == "message.dropped"]
    assert [(line["queue"], line["bytes"], line["error"]) for line in dropped] == [
        ("mixsd:gpu", 6, "UnicodeDecodeError"),
        ("mixsd:gpu", 15, "ValidationError"),
    ]
    dispatcher.canary("canary.mine")
    assert received(celery, "canary.mine") == [CANARY]
    dispatcher.close()
    assert broker.hlen("mixsd:unacked") == 0


def test_what_has_the_name_of_the_queue_and_is_none_is_deleted(
    celery: Celery, redis_url: str, broker: redis.Redis
) -> None:
    broker.set("mixsd:gpu", "somebody's")
    broker.set("mixsd:else", "somebody's")

    with capture_logs() as logs:
        assert received(celery, "gpu") == []

    assert [line["queue"] for line in logs if line["event"] == "queue.dropped"] == ["gpu"]
    dispatcher = CeleryDispatcher(redis_url)
    dispatcher.hint("gpu")
    dispatcher.close()
    assert received(celery, "gpu") == [LOOK]
    assert broker.get("mixsd:else") == b"somebody's"


def test_without_a_broker_there_is_nothing_to_read() -> None:
    assert make_celery(Settings(redis_url=None)).conf.broker_transport is None
