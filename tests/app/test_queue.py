"""Hints: what they say on a real Redis, and that none of them can hurt the caller."""

import json
import socket
import time

import pytest
import redis

from app.queue import EXPIRES, KEY_PREFIX, LOOK, CeleryDispatcher, NullDispatcher


@pytest.fixture
def broker(redis_url: str) -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(redis_url)
    client.flushdb()
    return client


def test_a_hint_names_the_task_and_the_queue_and_expires(redis_url: str, broker: redis.Redis) -> None:
    dispatcher = CeleryDispatcher(redis_url)

    dispatcher.hint("gpu")
    dispatcher.close()

    messages = broker.lrange(f"{KEY_PREFIX}gpu", 0, -1)
    assert isinstance(messages, list)
    (message,) = (json.loads(raw) for raw in messages)
    assert message["headers"]["task"] == LOOK
    assert message["headers"]["argsrepr"] == "['gpu']"
    assert message["headers"]["expires"] is not None
    assert EXPIRES == 60
    assert set(broker.scan_iter()) == set(broker.scan_iter(f"{KEY_PREFIX}*"))
    broker.close()


def test_what_a_killed_worker_has_sent_to_itself_does_not_stay(redis_url: str, broker: redis.Redis) -> None:
    dispatcher = CeleryDispatcher(redis_url)

    assert dispatcher.canary("canary.of-nobody")
    dispatcher.close()

    assert broker.llen(f"{KEY_PREFIX}canary.of-nobody") == 1
    lasts = broker.ttl(f"{KEY_PREFIX}canary.of-nobody")
    assert isinstance(lasts, int)
    assert 0 < lasts <= EXPIRES
    assert broker.keys(f"{KEY_PREFIX}_kombu.binding.*canary*") == []


def test_a_broker_that_answers_is_noticed(redis_url: str) -> None:
    dispatcher = CeleryDispatcher(redis_url)

    assert dispatcher.ping() is True
    dispatcher.close()


def test_a_broker_that_is_away_hurts_nobody() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dispatcher = CeleryDispatcher(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
        begun = time.monotonic()

        dispatcher.hint("gpu")

        assert dispatcher.ping() is False
        assert time.monotonic() - begun < 10
        dispatcher.close()


def test_a_broker_that_is_silent_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dispatcher = CeleryDispatcher(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        begun = time.monotonic()

        dispatcher.hint("gpu")
        assert time.monotonic() - begun < 10

        begun = time.monotonic()
        dispatcher.hint("gpu")
        assert time.monotonic() - begun < 1
        dispatcher.close()


def test_without_a_broker_there_is_nobody_to_tell() -> None:
    dispatcher = NullDispatcher()

    dispatcher.hint("gpu")

    assert dispatcher.ping() is True
    dispatcher.close()
