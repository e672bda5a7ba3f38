"""A Redis that is away, frozen, full, emptied, or brings what is not ours."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast
from uuid import uuid4

import pytest
import redis

from app.jobs.states import JobStatus
from app.queue import CeleryDispatcher
from tests.faults.conftest import LONG, MISBEHAVING, FaultRig
from tests.servers import OwnRedis
from tests.worker.rig import kill_group
from worker.child import environment_for

pytestmark = pytest.mark.parametrize("engine", ["postgres"], indirect=True)

QUEUE = "mixsd:gpu"

JUNK = [
    pickle.dumps({"a": "pickle"}),
    b"",
    b"\x00\xff\xfe",
    b"no JSON",
    b"[" * 100_000,
    b"[]",
    b"null",
    b"{}",
    b'{"__type__": "datetime", "__value__": "never"}',
    b'{"properties": {}}',
    b'{"properties": {"delivery_tag": {}, "delivery_info": []}, "body": 3, "headers": []}',
    b'{"body": "!", "headers": {"task": ["worker.look"], "id": 1}, "properties": {}}',
]

STRANGE: list[Any] = [None, 0, -1, 1.5, True, "", "x", "W10=", "9" * 400, [], [1], {}, {"a": 1}, [[]], "zlib"]
"""What may lie in the place of a part of a message."""


@pytest.fixture(autouse=True)
def _left_as_it_was(own_broker: OwnRedis) -> Iterator[None]:
    yield
    own_broker.signal(signal.SIGCONT)
    if not own_broker.is_running():
        own_broker.start()
    with closing(redis.Redis.from_url(own_broker.url)) as broker:
        broker.config_set("maxmemory", "0")
        broker.flushall()


@contextmanager
def a_worker(rig: FaultRig, broker: OwnRedis, *, hint: float) -> Iterator[subprocess.Popen[bytes]]:
    """`mixsd worker`, which looks by itself every `hint` seconds."""
    environment = environment_for(rig.settings, {**os.environ, **MISBEHAVING})
    environment |= {"MIXSD_REDIS_URL": broker.url, "MIXSD_HINT": str(hint)}
    command = [sys.executable, "-m", "mixsd", "worker"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            kill_group(process.pid)


def comes_back(call: Callable[[], object], seconds: float) -> bool:
    """Say whether a call ends. A bound on waiting, not on speed."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_jobs_whose_hints_are_lost_with_the_server_are_all_run(rig: FaultRig, own_broker: OwnRedis) -> None:
    jobs = [rig.submit(facts=1) for _ in range(4)]
    with closing(CeleryDispatcher(own_broker.url)) as dispatcher:
        for _ in jobs:
            dispatcher.hint("gpu")
    own_broker.stop()
    own_broker.start()

    with a_worker(rig, own_broker, hint=1):
        for job_id in jobs:
            rig.until_status(job_id, JobStatus.SUCCEEDED)


def test_without_a_broker_jobs_begin_and_end_all_the_same(rig: FaultRig, own_broker: OwnRedis) -> None:
    first = rig.submit(pace=0.2)
    with a_worker(rig, own_broker, hint=1) as worker:
        rig.until(lambda: rig.job(first).attempt > 0)
        own_broker.stop()
        second = rig.submit()
        for job_id in (first, second):
            assert rig.until_status(job_id, JobStatus.SUCCEEDED).attempt == 1
        assert worker.poll() is None


@pytest.mark.parametrize("trouble", ["frozen", "away", "full"])
def test_a_hint_that_cannot_be_sent_holds_nobody_up(
    rig: FaultRig, own_broker: OwnRedis, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(CeleryDispatcher(own_broker.url)) as dispatcher:
        dispatcher.hint("gpu")
        if trouble == "frozen":
            own_broker.signal(signal.SIGSTOP)
        elif trouble == "away":
            own_broker.stop()
        else:
            with closing(redis.Redis.from_url(own_broker.url)) as broker:
                broker.config_set("maxmemory", "1")

        def hint_often() -> None:
            for _ in range(20):
                dispatcher.hint("gpu")

        assert comes_back(hint_often, 120)
        own_broker.signal(signal.SIGCONT)


def test_a_worker_hears_again_after_restarts_and_broken_connections(
    rig: FaultRig, own_broker: OwnRedis
) -> None:
    with a_worker(rig, own_broker, hint=300) as worker:  # only a hint starts a job before that
        hinted_job(rig, own_broker)
        for _ in range(3):
            own_broker.stop()
            own_broker.start()
            time.sleep(0.5)
        hinted_job(rig, own_broker)
        with closing(redis.Redis.from_url(own_broker.url)) as broker:
            for _ in range(5):
                broker.client_kill_filter(_type="normal", skipme=True)
                time.sleep(0.2)
        hinted_job(rig, own_broker)
        assert worker.poll() is None


def test_messages_that_are_not_ours_do_a_worker_no_harm(rig: FaultRig, own_broker: OwnRedis) -> None:
    with a_worker(rig, own_broker, hint=300) as worker:
        hinted_job(rig, own_broker)
        send("worker.unknown", own_broker, ["gpu"], "json")
        send("worker.look", own_broker, ["gpu"], "pickle")
        send("worker.look", own_broker, {"many": 1}, "json")
        hinted_job(rig, own_broker)
        assert worker.poll() is None


def test_bytes_that_are_no_message_are_dropped_and_the_worker_goes_on(
    rig: FaultRig, own_broker: OwnRedis
) -> None:
    with a_worker(rig, own_broker, hint=300) as worker:
        hinted_job(rig, own_broker)
        push(own_broker, JUNK)
        rig.until(lambda: left(own_broker) == 0)
        hinted_job(rig, own_broker)
        assert worker.poll() is None


def test_a_value_in_the_place_of_the_queue_is_taken_away_and_the_worker_goes_on(
    rig: FaultRig, own_broker: OwnRedis
) -> None:
    with a_worker(rig, own_broker, hint=300) as worker:
        hinted_job(rig, own_broker)
        with closing(redis.Redis.from_url(own_broker.url)) as client:
            client.set(QUEUE, "no queue")
            rig.until(lambda: not client.exists(QUEUE))
        hinted_job(rig, own_broker)
        assert worker.poll() is None


def test_hints_with_parts_changed_by_chance_neither_end_a_worker_nor_block_it(
    rig: FaultRig, own_broker: OwnRedis
) -> None:
    with a_worker(rig, own_broker, hint=300) as worker:
        hinted_job(rig, own_broker)
        push(own_broker, spoiled_hints(own_broker, 10_000 if LONG else 400))
        rig.until(lambda: left(own_broker) == 0)
        hinted_job(rig, own_broker)
        assert worker.poll() is None


def push(broker: OwnRedis, messages: Iterable[bytes]) -> None:
    with closing(redis.Redis.from_url(broker.url)) as client:
        for message in messages:
            client.lpush(QUEUE, message)


def left(broker: OwnRedis) -> int:
    """Return how many messages wait, and how many a worker has taken and not acknowledged."""
    with closing(redis.Redis.from_url(broker.url)) as client:
        waiting, taken = client.llen(QUEUE), client.hlen("mixsd:unacked")
    assert isinstance(waiting, int)
    assert isinstance(taken, int)
    return waiting + taken


def spoiled_hints(broker: OwnRedis, count: int) -> Iterator[bytes]:
    """Yield hints of which a part is another, is missing, or is of another kind."""
    chance = random.Random(16)  # noqa: S311  not a secret
    with (
        closing(CeleryDispatcher(broker.url)) as dispatcher,
        closing(redis.Redis.from_url(broker.url)) as client,
    ):
        dispatcher.hint("elsewhere")
        (good,) = cast("list[bytes]", client.lrange("mixsd:elsewhere", 0, -1))
        client.delete("mixsd:elsewhere")
    for _ in range(count):
        if chance.random() < 0.3:
            data = bytearray(good)
            for _ in range(chance.randint(1, 5)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            yield bytes(data)
        else:
            message = json.loads(good)
            message["properties"]["delivery_tag"] = str(uuid4())
            for _ in range(chance.randint(1, 2)):
                spoil(message, chance)
            yield json.dumps(message).encode()


def spoil(message: dict[str, Any], chance: random.Random) -> None:
    """Change a part of a message, wherever it lies."""
    part, name = message, chance.choice(list(message))
    while isinstance(part[name], dict) and part[name] and chance.random() < 0.9:
        part = part[name]
        name = chance.choice(list(part))
    if chance.random() < 0.2:
        del part[name]
    else:
        part[name] = chance.choice(STRANGE)
    if not message:
        message["body"] = None


def hinted_job(rig: FaultRig, broker: OwnRedis) -> None:
    """Have a job run that only a hint can have started."""
    job_id = rig.submit(facts=1)
    with closing(CeleryDispatcher(broker.url)) as dispatcher:

        def begun() -> bool:
            dispatcher.hint("gpu")  # one that was sent while the worker reconnected may be lost
            time.sleep(0.5)
            return rig.job(job_id).attempt > 0

        rig.until(begun)
    rig.until_status(job_id, JobStatus.SUCCEEDED)


def send(task: str, broker: OwnRedis, arguments: object, serializer: str) -> None:
    """Send a message as somebody else's program might."""
    code = f"""
from celery import Celery
celery = Celery(broker={broker.url!r})
celery.conf.update(broker_transport_options={{"global_keyprefix": "mixsd:"}})
with celery.connection_for_write() as connection:
    producer = connection.Producer()
    body = ({arguments!r}, {{}}, {{}})
    headers = {{"task": {task!r}, "id": "x-{task}-{serializer}", "lang": "py"}}
    producer.publish(body, routing_key="gpu", exchange="gpu", serializer={serializer!r}, headers=headers)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
