"""Supervisors share GPUs, tell of themselves, and trace what they do."""

import json
import os
import socket
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import select, update

from app import tracing
from app.ids import JobId
from app.jobs.models import Job, Worker
from app.jobs.states import JobStatus, Phase
from app.jobs.workers import FORGET_AFTER
from tests.worker.rig import TESTING, Rig
from worker.supervisor import Supervisor, roster_for, slots_of

on_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def wants(rig: Rig, job_id: JobId, gpus: int) -> JobId:
    with rig.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(gpus=gpus))
    return job_id


@on_sqlite
def test_a_job_waits_for_its_gpus_and_its_runner_sees_those_alone(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"gpus": "4,5", "device": "cuda:0"})
    telling = "tell its environment"
    both = wants(rig, rig.submit(does=telling), 2)
    supervisor = rig.supervisor()

    with slots_of(rig.settings).choosing() as free:
        other = free.keep(1)
    assert not supervisor.run_one("gpu")
    small = rig.submit(does=telling)
    assert supervisor.run_one("gpu")
    assert rig.job(both).status is JobStatus.QUEUED
    other.close()
    assert supervisor.run_one("gpu")

    for job_id, count in ((small, 1), (both, 2)):
        assert rig.job(job_id).status is JobStatus.SUCCEEDED
        told = json.loads((rig.folder(job_id) / "environment.json").read_text())
        visible = told["CUDA_VISIBLE_DEVICES"].split(",")
        assert len(visible) == count
        assert set(visible) <= {"4", "5"}
        assert told["MIXSD_DEVICE"] == "cuda", "it numbers its GPUs from 0"
    with slots_of(rig.settings).choosing() as free:
        assert free.count == 2


def workers_of(rig: Rig) -> Sequence[Worker]:
    with rig.database.read() as session:
        return session.scalars(select(Worker)).all()


def test_a_worker_tells_of_itself_and_its_job_and_takes_its_leave(rig: Rig) -> None:
    roster = roster_for(rig.database, rig.settings, slots_of(rig.settings))
    roster.start()
    rig.until(lambda: workers_of(rig))
    (first,) = workers_of(rig)
    job_id = rig.submit(stays_in=Phase.TRAINING)
    stop = threading.Event()
    environ = {**os.environ, **TESTING}
    supervisor = Supervisor(rig.database, rig.settings, stop=stop.is_set, environ=environ, note=roster.note)
    thread = threading.Thread(target=supervisor.run_one, args=("gpu",))
    thread.start()

    rig.until(lambda: workers_of(rig)[0].job_id == job_id)
    stop.set()
    thread.join()
    rig.until(lambda: workers_of(rig)[0].job_id is None)
    rig.until(lambda: workers_of(rig)[0].heartbeat_at > first.heartbeat_at)

    assert (first.host, first.pid, first.device, first.capacity, first.gpus) == (
        socket.gethostname(),
        os.getpid(),
        "cpu",
        0,
        [],
    )
    roster.close()
    rig.until(lambda: workers_of(rig) == [])


def test_the_sweeper_forgets_workers_that_were_lost_for_long(rig: Rig) -> None:
    silent, lives = (roster_for(rig.database, rig.settings, slots_of(rig.settings)) for _ in range(2))
    silent.beat()
    lives.beat()
    with rig.database.begin() as session:
        long_ago = rig.database.now(session) - FORGET_AFTER - rig.settings.lease - timedelta(seconds=1)
        session.execute(update(Worker).where(Worker.id == silent.who.id).values(heartbeat_at=long_ago))

    with rig.sweeping():
        rig.until(lambda: [worker.id for worker in workers_of(rig)] == [lives.who.id])


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traced(
    rig: Rig, spans: InMemorySpanExporter, job_id: JobId, *, crash_at: str = ""
) -> Sequence[ReadableSpan]:
    """Make an attempt at the job, which a traced request had made; return its spans."""
    with rig.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(traceparent=PARENT))
    tracers = tracing.recording(SimpleSpanProcessor(spans), role="test")
    environ = {**os.environ, **TESTING, "MIXSD_CRASH_AT": crash_at}
    Supervisor(rig.database, rig.settings, environ=environ, tracers=tracers).run_one("gpu")
    found = spans.get_finished_spans()
    assert {span.context.trace_id for span in found if span.context} == {int(PARENT[3:35], 16)}
    return found


@on_sqlite
def test_an_attempt_is_a_span_in_the_trace_of_the_request_with_one_for_each_phase(
    rig: Rig, spans: InMemorySpanExporter
) -> None:
    job_id = rig.submit()

    *phases, attempt = traced(rig, spans, job_id)

    assert attempt.name == "job.attempt"
    assert attempt.parent is not None
    assert attempt.parent.span_id == int(PARENT[36:52], 16)
    assert dict(attempt.attributes or {}) == {
        "mixsd.job_id": job_id,
        "mixsd.attempt": 1,
        "mixsd.exit_code": 0,
    }
    assert attempt.status.status_code is StatusCode.UNSET
    assert [span.name for span in phases] == [f"phase.{phase}" for phase in Phase]
    assert {span.parent and span.parent.span_id for span in phases} == {attempt.context.span_id}
    assert all(span.start_time and span.end_time and span.start_time <= span.end_time for span in phases)


@on_sqlite
def test_an_attempt_that_was_killed_has_spans_too(rig: Rig, spans: InMemorySpanExporter) -> None:
    *phases, attempt = traced(rig, spans, rig.submit(), crash_at="training.started")

    assert attempt.status.status_code is StatusCode.ERROR
    assert (attempt.attributes or {})["mixsd.status"] == "queued"
    states = {span.name: span.status.status_code for span in phases}
    assert states.pop("phase.training") is StatusCode.ERROR
    assert set(states.values()) == {StatusCode.UNSET}
