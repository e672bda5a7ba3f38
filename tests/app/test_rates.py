"""How many requests a caller may make, with the count in memory and in Redis."""

import threading
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from redis import Redis

from app import log
from app.access import RateLimitedError
from app.db.engine import Database
from app.main import build_app
from app.projects.keys import new_key
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from app.web.rates import REST, RateLimiter
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_client, a_key
from tests.factories import NOW

NOBODY = "redis://127.0.0.1:1/0"


class Seconds:
    """A clock that a test moves; it starts at the beginning of a minute."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def patient_redis(redis_url: str) -> str:
    """The address of a Redis that is waited for: one that was held up for a moment is not left out."""
    return f"{redis_url}?socket_timeout=300&socket_connect_timeout=300"


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest, seconds: Seconds) -> Iterator[RateLimiter]:
    url = request.getfixturevalue("patient_redis") if request.param == "redis" else None
    limiter = RateLimiter(3, url, seconds)
    yield limiter
    limiter.close()
    if url is not None:
        with Redis.from_url(url) as client:
            client.flushdb()


def test_more_than_the_limit_is_refused_until_the_minute_is_over(
    limiter: RateLimiter, seconds: Seconds
) -> None:
    seconds.now += 20
    left = [window.remaining for _ in range(3) if (window := limiter.hit("a"))]
    assert left == [2, 1, 0]

    with pytest.raises(RateLimitedError) as caught:
        limiter.hit("a")

    assert caught.value.retry_after == 40
    window = limiter.hit("b")
    assert window is not None
    assert window.headers() == {
        "RateLimit-Policy": '"requests";q=3;w=60',
        "RateLimit": '"requests";r=2;t=40',
    }
    seconds.now += 40
    assert limiter.hit("a") is not None


def test_processes_count_together_in_redis(patient_redis: str, seconds: Seconds) -> None:
    limiters = [RateLimiter(3, patient_redis, seconds) for _ in range(2)]

    for limiter in (*limiters, limiters[0]):
        limiter.hit("c")

    with pytest.raises(RateLimitedError):
        limiters[1].hit("c")
    with Redis.from_url(patient_redis) as client:
        (key,) = client.keys("*:c/*")
        assert key.startswith(b"mixsd:rate:")
        assert 0 < client.ttl(key) <= 60
        client.flushdb()
    for limiter in limiters:
        limiter.close()


def test_threads_lose_no_count(limiter: RateLimiter) -> None:
    refused = []

    def ask() -> None:
        for _ in range(5):
            try:
                limiter.hit("d")
            except RateLimitedError:
                refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    limiter.hit("d")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 1 + 6 * 5 - 3


def test_redis_that_is_away_refuses_nobody_and_is_left_alone_for_a_while(
    seconds: Seconds, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(json=False)
    limiter = RateLimiter(1, NOBODY, seconds)

    assert [limiter.hit("a") for _ in range(3)] == [None, None, None]
    assert capsys.readouterr().err.count("rate_limit.not_counted") == 1
    seconds.now += REST
    limiter.hit("a")
    assert capsys.readouterr().err.count("rate_limit.not_counted") == 1


def test_zero_is_no_limit() -> None:
    limiter = RateLimiter(0, NOBODY)

    assert {limiter.hit("a") for _ in range(5)} == {None}
    assert not limiter.waits


def an_api(database: Database, store: LocalStore, settings: Settings, **changes: object) -> FastAPI:
    log.configure(json=False)
    settings = settings.model_copy(update={"auth": AuthMode.REQUIRED, "rate_limit": 4} | changes)
    return build_app(database, store, ListeningDispatcher(), settings, lambda: NOW)


def test_a_key_has_a_minute_of_its_own(database: Database, store: LocalStore, settings: Settings) -> None:
    api = an_api(database, store, settings)
    first, second = (a_client(api, a_key(database).secret) for _ in range(2))

    answers = [first.get("/models") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert answers[0].headers["RateLimit"].startswith('"requests";r=3;t=')
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert second.get("/models").status_code == 200
    assert {first.get("/healthz").status_code for _ in range(9)} == {200}


def test_strangers_are_counted_by_address(database: Database, store: LocalStore, settings: Settings) -> None:
    """Those who try keys too: each with another one, and from one place."""
    api = an_api(database, store, settings)
    a_key(database)

    tries = [a_client(api, new_key().secret).get("/jobs") for _ in range(5)]

    assert [answer.status_code for answer in tries] == [401] * 4 + [429]
    assert a_client(api).get("/jobs").status_code == 429
    assert a_client(api, address="10.0.0.2").get("/jobs").status_code == 401
    spoofed = a_client(api).get("/jobs", headers={"X-Forwarded-For": "10.9.9.9"})
    assert spoofed.status_code == 429


def test_without_keys_addresses_are_counted(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    api = an_api(database, store, settings, auth=AuthMode.OFF)

    assert [a_client(api).get("/models").status_code for _ in range(5)] == [200] * 4 + [429]
    assert a_client(api, address="10.0.0.2").get("/models").status_code == 200


@pytest.mark.parametrize("url", [NOBODY, None])
def test_the_api_answers_with_redis_and_without(
    database: Database, store: LocalStore, settings: Settings, patient_redis: str, url: str | None
) -> None:
    api = an_api(database, store, settings, redis_url=url or patient_redis)
    with a_client(api, a_key(database).secret) as client:
        statuses = [client.get("/jobs").status_code for _ in range(5)]

    assert statuses == [200] * 4 + [200 if url == NOBODY else 429]
