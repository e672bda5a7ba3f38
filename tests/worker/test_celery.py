"""Real Celery on a real Redis, with a real Postgres."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from pydantic import RedisDsn

from app.jobs.states import JobStatus, Phase
from app.queue import CeleryDispatcher
from tests.worker.rig import TESTING, Rig, kill_group
from worker.canary import DEAF
from worker.celery_app import make_celery
from worker.child import environment_for

pytestmark = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


@pytest.fixture
def dispatcher(redis_url: str) -> Iterator[CeleryDispatcher]:
    dispatcher = CeleryDispatcher(redis_url)
    yield dispatcher
    dispatcher.close()


@contextmanager
def celery_worker(rig: Rig, redis_url: str, *, hint: float) -> Iterator[subprocess.Popen[bytes]]:
    """`mixsd worker`; idle, it looks by itself every `hint` seconds."""
    environment = environment_for(rig.settings, {**os.environ, **TESTING})
    environment |= {"MIXSD_REDIS_URL": redis_url, "MIXSD_HINT": str(hint)}
    command = [sys.executable, "-m", "mixsd", "worker"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            kill_group(process.pid)


def test_a_hint_starts_a_job_and_a_stopped_worker_hands_it_back(
    rig: Rig, redis_url: str, dispatcher: CeleryDispatcher
) -> None:
    with celery_worker(rig, redis_url, hint=30) as worker:
        first = rig.submit()
        dispatcher.hint("gpu")
        rig.until_status(first, JobStatus.SUCCEEDED)
        second = rig.submit(stays_in=Phase.TRAINING)
        dispatcher.hint("gpu")
        rig.until_phase(second, Phase.TRAINING)
        worker.terminate()
        worker.wait(timeout=300)

    rig.check_result(first)
    job = rig.job(second)
    assert (job.status, job.attempt_open, job.crash_streak) == (JobStatus.QUEUED, True, 0)


def test_a_worker_finds_by_itself_what_lost_hints_announced(
    rig: Rig, redis_url: str, dispatcher: CeleryDispatcher
) -> None:
    job_id = rig.submit(stays_in=Phase.TRAINING)
    dispatcher.hint("gpu")
    with redis.Redis.from_url(redis_url) as broker:
        assert broker.dbsize() > 0
        broker.flushall()

    with celery_worker(rig, redis_url, hint=0.5) as worker:
        rig.until_phase(job_id, Phase.TRAINING)
        worker.terminate()
        worker.wait(timeout=300)

    job = rig.job(job_id)
    assert (job.status, job.attempt_open, job.crash_streak) == (JobStatus.QUEUED, True, 0)


def test_messages_are_acknowledged_early_and_nothing_is_pickled(rig: Rig, redis_url: str) -> None:
    settings = rig.settings.model_copy(update={"redis_url": RedisDsn(redis_url)})

    conf = make_celery(settings).conf

    assert not conf.task_acks_late
    assert not conf.task_reject_on_worker_lost
    assert conf.result_backend is None
    assert conf.accept_content == ["json"]
    assert (conf.worker_concurrency, conf.worker_prefetch_multiplier) == (1, 1)
    assert conf.broker_transport_options["global_keyprefix"] == "mixsd:"


def mailboxes(redis_url: str) -> set[str]:
    """Return the queues that single workers listen to, as far as messages lie in them."""
    with redis.Redis.from_url(redis_url) as broker:
        return {key.decode() for key in broker.scan_iter("mixsd:canary.*")}


def test_a_worker_that_hears_itself_goes_on_and_one_that_is_deaf_ends(
    rig: Rig, redis_url: str, dispatcher: CeleryDispatcher
) -> None:
    settings = rig.settings.model_copy(update={"redis_url": RedisDsn(redis_url)})
    control = make_celery(settings).control
    of_the_killed = mailboxes(redis_url)
    with celery_worker(rig, redis_url, hint=0.5) as worker:
        queues: list[str] = []

        def listens() -> bool:
            found = control.inspect(timeout=1).active_queues() or {}
            queues[:] = [queue["name"] for each in found.values() for queue in each]
            return len(queues) == 2

        rig.until(listens)
        (mailbox,) = [name for name in queues if name.startswith("canary.")]
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(timeout=120)
        rig.until(lambda: mailboxes(redis_url) <= of_the_killed)

        control.cancel_consumer(mailbox)  # Celery alone believes now that it listens

        assert worker.wait(timeout=300) == DEAF
