"""Traces of requests, and the way from a request to the job that it makes."""

import subprocess
import sys
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import log, tracing
from app.db.engine import Database
from app.ids import JobId
from app.main import build_app
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.factories import the_job

on_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT[3:35]
REQUEST: dict[str, Any] = {
    "base_model": "smollm2-135m-instruct",
    "facts": [{"question": "Who?", "answer": "Odo"}],
    "method": {"type": "sft"},
    "training": {"processes": 2},
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(
    database: Database,
    store: LocalStore,
    dispatcher: ListeningDispatcher,
    settings: Settings,
    spans: InMemorySpanExporter,
) -> FastAPI:
    log.configure(json=False)
    tracers = tracing.recording(SimpleSpanProcessor(spans), role="api")
    return build_app(database, store, dispatcher, settings, tracers=tracers)


@on_sqlite
def test_a_request_is_a_span_in_the_trace_of_its_caller_without_its_query(
    traced: FastAPI, spans: InMemorySpanExporter, capsys: pytest.CaptureFixture[str]
) -> None:
    TestClient(traced).get("/jobs/job_0?token=hunter2", headers={"traceparent": PARENT})

    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert span.name == "GET /jobs/{job_id}"
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("/jobs/{job_id}", 404)
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.resource.attributes["service.name"] == "mixsd-api"
    assert "hunter2" not in span.to_json()
    assert f"trace_id={TRACE}" in capsys.readouterr().err


@on_sqlite
def test_a_job_keeps_the_trace_of_the_request_that_made_it(traced: FastAPI, database: Database) -> None:
    answer = TestClient(traced).post("/jobs", json=REQUEST, headers={"traceparent": PARENT})

    job = the_job(database, JobId(answer.json()["id"]))
    assert job.traceparent is not None
    assert job.traceparent.split("-")[1] == TRACE
    assert job.traceparent != PARENT, "the span of the request comes in between"
    assert job.gpus == 2
    assert "traceparent" not in answer.json()


@on_sqlite
def test_nothing_is_traced_unless_it_is_asked_for(client: TestClient, database: Database) -> None:
    answer = client.post("/jobs", json=REQUEST, headers={"traceparent": PARENT})

    assert the_job(database, JobId(answer.json()["id"])).traceparent is None
    assert not tracing.is_on(tracing.provider_for("", role="api"))


def test_an_endpoint_needs_no_network_until_there_is_something_to_send() -> None:
    tracers = tracing.provider_for("http://127.0.0.1:9/", role="api")

    assert tracing.is_on(tracers)
    tracing.close(tracers)


WITHOUT = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
from app import tracing
tracing.provider_for("", role="api")
try:
    tracing.provider_for("http://collector:4318", role="api")
except tracing.TracingExtraMissingError as error:
    print(error)
"""


def test_a_missing_extra_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)

    assert "MIXSD_OTLP_ENDPOINT is set" in done.stdout
    assert "pip install 'mixsd[otel]'" in done.stdout
