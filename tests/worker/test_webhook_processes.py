"""Webhooks are sent by `mixsd up` and by `mixsd sweeper`."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.adapters.models import Adapter
from app.jobs.states import JobStatus
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from app.webhooks import service
from app.webhooks.schemas import WebhookCreate, WebhookCreated
from tests.worker.receiver import Receiver, receiving
from tests.worker.rig import TESTING, Rig
from worker.local import LocalWorker

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    longest = {"webhook_timeout": timedelta(seconds=30)}
    return settings.model_copy(update={"webhook_allow": ("127.0.0.0/8",), "webhook_http": True, **longest})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def a_webhook(rig: Rig, url: str, *events: str) -> WebhookCreated:
    request = WebhookCreate(url=url, events=list(events))
    return service.create_webhook(
        rig.database, project_id=DEFAULT_PROJECT, request=request, check_url=lambda _: None
    )


def test_the_worker_of_mixsd_up_tells_how_a_job_went(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TESTING.items():
        monkeypatch.setenv(name, value)
    hook = a_webhook(rig, receiver.url, "job.started", "job.succeeded", "adapter.created")
    job_id = rig.submit()
    worker = LocalWorker(rig.database, rig.settings)
    worker.start()

    rig.until_status(job_id, JobStatus.SUCCEEDED)
    rig.until(lambda: len(receiver.got) == 3)
    worker.stop()

    told = {message["type"]: message["data"]["id"] for message in receiver.messages(hook.secret)}
    (adapter,) = rig.rows(Adapter, job_id)
    assert told == {"job.started": job_id, "job.succeeded": job_id, "adapter.created": adapter.id}


def test_a_sweeper_sends_and_ends_when_it_is_told_to(rig: Rig, receiver: Receiver) -> None:
    hook = a_webhook(rig, receiver.url, "*")
    service.test_webhook(rig.database, project_id=DEFAULT_PROJECT, webhook_id=hook.id)
    environment = rig.environment() | {"MIXSD_WEBHOOK_ALLOW": '["127.0.0.1"]', "MIXSD_WEBHOOK_HTTP": "true"}

    with subprocess.Popen([sys.executable, "-m", "mixsd", "sweeper"], env=environment) as process:
        try:
            rig.until(lambda: receiver.got)
            process.send_signal(signal.SIGTERM)
            ended = process.wait(timeout=300)
        finally:
            process.kill()

    assert ended == 0
    assert [message["type"] for message in receiver.messages(hook.secret)] == ["webhook.test"]
