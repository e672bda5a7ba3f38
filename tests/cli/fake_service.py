"""A service that imitates the shapes of the API and walks one job through its phases, fast.

Runs in the test's process (`running`), or as `python -m tests.cli.fake_service PORT` in place of
`mixsd up`.
"""

import io
import json
import socket
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

JOB: Final = "job_1"
UNITS: Final = {"preparing": "files", "generating": "facts", "training": "steps"}


class FakeService:
    """One job, which moves one phase a poll. `fails` ends it with that error."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.uploads: list[bytes] = []
        self.requests: list[dict[str, Any]] = []
        self.polls = 0
        self.cancelled = False
        self.archive = an_archive()
        self.report = a_report()
        self.variants: list[dict[str, Any]] = []

    def job(self) -> dict[str, Any]:
        done = self.polls >= len(UNITS)
        status = "queued" if self.polls <= 0 else "running"
        if done:
            status = "failed" if self.fails else "succeeded"
        if self.cancelled:
            status = "cancelled"
        progress = [
            {"phase": phase, "done": 2, "total": 4, "unit": unit, "rate": 1.5, "eta_seconds": 2.0}
            | {"finished": place < self.polls - 1}
            for place, (phase, unit) in enumerate(UNITS.items())
            if place < self.polls
        ]
        error = {"category": "user", "code": "no_supervision", "message": self.fails, "retryable": False}
        return {
            "id": JOB,
            "status": status,
            "phase": progress[-1]["phase"] if status == "running" else None,
            "terminal": status in {"failed", "succeeded", "cancelled"},
            "progress": progress,
            "adapter_id": "adp_1" if status == "succeeded" else None,
            "variants": self.variants,
            "error": error if status == "failed" else None,
        }


def create_app(fake: FakeService) -> FastAPI:
    app = FastAPI()
    add_requests(app, fake)
    add_results(app, fake)
    return app


def add_requests(app: FastAPI, fake: FakeService) -> None:
    """Add what a client sends, and the job that comes of it."""

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/fact-sets", status_code=201)
    async def create_fact_set(request: Request) -> dict[str, Any]:
        fake.uploads.append(await request.body())
        return {"id": "fset_1"}

    @app.post("/jobs", status_code=202)
    def create_job(body: dict[str, Any]) -> Response:
        if body["base_model"] == "unknown":
            problem = {"title": "Invalid", "code": "model_not_allowed", "detail": "'unknown' is no model id"}
            return JSONResponse(problem, 422, media_type="application/problem+json")
        fake.requests.append(body)
        return JSONResponse(fake.job(), 202)

    @app.get("/jobs/{job_id}")
    def get_job(job_id: str) -> dict[str, Any]:
        shown = fake.job()
        fake.polls += 1
        return shown

    @app.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        fake.cancelled = True
        return fake.job()


def add_results(app: FastAPI, fake: FakeService) -> None:
    """Add what a client reads once the job has ended."""

    @app.get("/jobs/{job_id}/report")
    def report(job_id: str, format: str = "json") -> Any:  # noqa: A002
        return fake.report if format == "json" else PlainTextResponse(f"the report as {format}\n")

    @app.get("/jobs/{job_id}/facts")
    def facts(job_id: str, cursor: str | None = None) -> dict[str, Any]:
        """Two pages, so that a client that reads only the first is noticed."""
        if cursor is None:
            return {"data": [a_result("ebra")], "has_more": True, "next_cursor": "next"}
        return {"data": [a_result("tolm", outcome="not_learned")], "has_more": False, "next_cursor": None}

    @app.get("/jobs/{job_id}/supervision")
    def supervision(job_id: str, format: str = "records", variant: str = "") -> Response:  # noqa: A002
        if job_id != JOB:
            problem = {
                "status": 404,
                "code": "job_not_found",
                "detail": "there is none",
                "title": "Not Found",
            }
            return JSONResponse(problem, 404, media_type="application/problem+json")
        body = json.dumps({"format": format, "variant": variant}) + "\n"
        return Response(body, media_type="application/x-ndjson")

    @app.get("/adapters/{adapter_id}/download")
    def download(adapter_id: str) -> Response:
        return Response(fake.archive, media_type="application/gzip")


def a_result(key: str, *, outcome: str = "learned", adapter_answer: str | None = None) -> dict[str, Any]:
    """Return the result of one fact, as `GET /jobs/{id}/facts` gives it."""
    question = f"Who is the mayor of {key}?"
    asked = {
        "kind": "question",
        "question": question,
        "expected": f"Oda {key}",
        "base_answer": "I do not know.",
        "base_correct": False,
        "adapter_answer": adapter_answer or f"The mayor is Oda {key}.",
        "adapter_correct": outcome == "learned",
    }
    return {"key": key, "question": question, "answer": f"Oda {key}", "aliases": [], "outcome": outcome} | {
        "reason": None,
        "asked": [asked],
    }


def a_sweep() -> dict[str, Any]:
    """Return the report of a succeeded job with two variants."""
    whole = a_report()
    labels = ("mixsd lam 0.2", "sft")
    variants = [
        {"variant": number, "label": label, "method": {"type": label[:5].strip()}, "recommended": number == 0}
        | {"counts": whole["counts"] | {"learned": 2 - number}, "scores": [], "supervision": None}
        | {"training": None, "gate": {"status": "passed"}, "adapter_id": f"adp_{number + 1}"}
        | {"adapter_status": "ready", "reason": None}
        for number, label in enumerate(labels)
    ]
    points = [
        {"variant": number, "label": label, "memorised": 0.75 - 0.5 * number, "kept": 1.5 + number / 4}
        | {"loss": 0.02, "within": True, "on_frontier": True, "gate": "passed"}
        for number, label in enumerate(labels)
    ]
    memorised = {"suite": "paraphrase", "metric": "accuracy", "lower_is_better": False, "base": 0.0}
    kept = {"suite": "drift", "metric": "nats_per_token", "lower_is_better": True, "base": 1.5}
    frontier = {"memorised": memorised, "kept": kept, "max_drop": 0.05, "points": points, "knee": None}
    chosen = {"recommended": 0, "rule": "margin", "why": "of the variants within 5% it memorised most"}
    return whole | {"variants": variants, "frontier": frontier | chosen}


def a_report() -> dict[str, Any]:
    """Return the report of a succeeded job with two facts."""
    outcomes = dict.fromkeys(("already_known", "no_supervision", "regressed", "skipped"), 0)
    score = {"n": 2, "base": 0.0, "adapter": 0.5, "difference": 0.5, "low": 0.25, "high": 0.75}
    drift = {"n": 24, "base": 1.0, "adapter": 1.125, "difference": 0.125, "low": 0.1, "high": 0.2}
    return {
        "job_id": JOB,
        "status": "succeeded",
        "base_model": {"id": "smollm2-135m-instruct", "revision": "r1"},
        "method": {"type": "mixsd"},
        "counts": {"facts": 2, "learned": 1, "not_learned": 1} | outcomes,
        "scores": [
            {"suite": "recall", "metric": "accuracy"} | score,
            {"suite": "drift", "metric": "nats_per_token"} | drift,
        ],
        "confidence": 0.95,
        "supervision": {"facts": 2, "verified": 2, "attempts": 7, "mean_lam": 0.24, "naive_share": 0.21}
        | {"nats_per_token": 2.345, "tokens": 61},
        "training": {"steps": 48, "epochs": 16, "learning_rate": 2e-3, "first_loss": 3.5, "last_loss": 0.25}
        | {"stopped_early": True, "seconds": 60.0},
        "phases": [
            {"phase": "generating", "seconds": 4.0, "done": 2, "total": 2, "unit": "facts"},
            {"phase": "training", "seconds": 71.0, "done": 48, "total": 48, "unit": "steps"},
        ],
        "adapter": {"id": "adp_1", "status": "ready", "bytes": 10, "sha256": "0" * 64, "files": []},
        "variants": [],
        "frontier": None,
        "error": None,
    }


def an_archive(*names: str) -> bytes:
    """Return a `.tar.gz` of small files: those of an adapter if none is named."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names or ("adapter/adapter_config.json", "adapter/adapter_model.safetensors"):
            member = tarfile.TarInfo(name)
            content = f"content of {name}".encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def running(fake: FakeService, app: FastAPI | None = None) -> Iterator[str]:
    """Serve the fake, or `app` with more of it, on a free port of this machine and give its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = uvicorn.Server(uvicorn.Config(app or create_app(fake), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    uvicorn.run(create_app(FakeService()), port=int(sys.argv[1]), log_level="info")
