"""Hints: what they say on a real Redis, and that none of them can hurt the caller."""

import json
import socket
import time
from collections.abc import Callable
from typing import Final

import pytest
import redis

from app.queue import EXPIRES, KEY_PREFIX, LOOK, CeleryDispatcher, NullDispatcher

TRIES: Final = 3
"""The dispatcher waits two seconds for Redis; on a busy machine a process may stand still for longer."""


def took(act: Callable[[], None]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


@pytest.fixture
def broker(redis_url: str) -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(redis_url)
    client.flushdb()
    return client


def test_a_hint_names_the_task_and_the_queue_and_expires(redis_url: str, broker: redis.Redis) -> None:
    messages = []
    for _ in range(TRIES):
        broker.flushdb()
        dispatcher = CeleryDispatcher(redis_url)
        dispatcher.hint("gpu")
        dispatcher.close()
        messages = broker.lrange(f"{KEY_PREFIX}gpu", 0, -1)
        assert isinstance(messages, list)
        if len(messages) == 1:
            break

    (message,) = (json.loads(raw) for raw in messages)
    assert message["headers"]["task"] == LOOK
    assert message["headers"]["argsrepr"] == "['gpu']"
    assert message["headers"]["expires"] is not None
    assert EXPIRES == 60
    assert set(broker.scan_iter()) == set(broker.scan_iter(f"{KEY_PREFIX}*"))
    broker.close()


def test_what_a_killed_worker_has_sent_to_itself_does_not_stay(redis_url: str, broker: redis.Redis) -> None:
    dispatcher = CeleryDispatcher(redis_url)

    assert any(dispatcher.canary("canary.of-nobody") for _ in range(TRIES))
    dispatcher.close()

    assert broker.llen(f"{KEY_PREFIX}canary.of-nobody")
    lasts = broker.ttl(f"{KEY_PREFIX}canary.of-nobody")
    assert isinstance(lasts, int)
    assert 0 < lasts <= EXPIRES
    assert broker.keys(f"{KEY_PREFIX}_kombu.binding.*canary*") == []


def test_a_broker_that_answers_is_noticed(redis_url: str) -> None:
    dispatcher = CeleryDispatcher(redis_url)

    assert any(dispatcher.ping() for _ in range(TRIES))
    dispatcher.close()


def test_a_broker_that_is_away_hurts_nobody() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))

        def ask() -> None:
            dispatcher = CeleryDispatcher(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
            dispatcher.hint("gpu")
            assert dispatcher.ping() is False
            dispatcher.close()

        assert any(took(ask) < 10 for _ in range(TRIES))


def test_a_broker_that_is_silent_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        def is_given_up() -> bool:
            """Say whether a first hint is given up soon, and a second one not tried."""
            dispatcher = CeleryDispatcher(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            first, second = (took(lambda: dispatcher.hint("gpu")) for _ in range(2))
            dispatcher.close()
            return first < 10 and second < 1

        assert any(is_given_up() for _ in range(TRIES))


def test_without_a_broker_there_is_nobody_to_tell() -> None:
    dispatcher = NullDispatcher()

    dispatcher.hint("gpu")

    assert dispatcher.ping() is True
    dispatcher.close()
