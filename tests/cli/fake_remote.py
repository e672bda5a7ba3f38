"""What the fake service has beside a job that it walks: lists, actions, streams, estimates, files."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tests.cli.fake_service import JOB, FakeService, create_app

FILES: Final = {
    "adapter_config.json": b'{"r": 4}',
    "weights/adapter_model.safetensors": bytes(range(256)) * 40,
}
_SECONDS: Final = {"p50": 1.0, "p90": 4.0, "basis": "history", "n": 3}
ESTIMATE: Final[dict[str, Any]] = {
    "facts": 6,
    "sampled": 6,
    "counted_by": "tokenizer",
    "targets": 30,
    "steps": 6,
    "device": "cpu",
    "seconds": {"p50": 76.0, "p90": 94.0, "basis": "history", "n": 3},
    "phases": [
        {"phase": "preparing", "units": 2, "unit": "steps", "tokens_read": 0, "tokens_written": 0}
        | {"seconds": _SECONDS},
        {"phase": "generating", "units": 30, "unit": "targets", "tokens_read": 3710, "tokens_written": 680}
        | {"seconds": {"p50": 75.0, "p90": 90.0, "basis": "history", "n": 3}},
    ],
    "base_model": "tiny/random",
    "revision": None,
    "memory": {"device_least": 1082624, "device_at_once": 11750144, "host": 1211750144},
    "disk": {"model": 0, "job": 202752},
    "queue": {"jobs_ahead": 1, "workers": 0, "starts_in_seconds": None},
    "warnings": [{"code": "no_worker", "detail": "no worker has reported lately: it would wait"}],
}
"""What the service answered, cut to two phases and with a warning."""


class FakeRemote(FakeService):
    """`streams`: lists of events, each sent to one connection, which then ends; null without streams.

    After the last one nothing follows. `pieces` are what a streamed answer is made of.
    """

    def __init__(self, fails: str = "") -> None:
        super().__init__(fails)
        self.streams: list[list[dict[str, Any]]] | None = None
        self.has_room = True
        self.stored: list[dict[str, Any]] = []
        self.estimates = False
        self.inference: dict[str, Any] | JSONResponse | None = None
        self.pieces: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.acted: list[tuple[str, Any]] = []
        self.resumed_from: list[str | None] = []
        self.estimated: list[dict[str, Any]] = []
        self.pushed: list[dict[str, str]] = []
        self.files = dict(FILES)
        self.ranges: list[str | None] = []
        self.break_after: int | None = None
        self.imported: list[tuple[dict[str, str], str, bytes]] = []


def an_event(seq: int, kind: str = "job.checkpoint_saved", level: str = "info") -> dict[str, Any]:
    return {
        "id": f"evt_{seq}",
        "seq": seq,
        "type": kind,
        "job_id": JOB,
        "attempt": 1,
        "phase": "training",
        "level": level,
        "created_at": "2026-11-24T10:00:00Z",
        "message": f"message {seq}",
        "data": {},
    }


def a_progress(done: int) -> dict[str, Any]:
    """Return an event that is not stored."""
    phase = {"phase": "training", "done": done, "total": 9, "unit": "steps", "rate": None}
    event = {name: value for name, value in an_event(0).items() if name not in {"id", "seq"}}
    data = phase | {"eta_seconds": None, "finished": False}
    return event | {"type": "job.progress", "message": f"training: {done} of 9 steps", "data": data}


def a_problem(status: int, code: str, detail: str) -> JSONResponse:
    problem = {"title": "No", "status": status, "code": code, "detail": detail}
    return JSONResponse(problem, status, media_type="application/problem+json")


def create_remote(fake: FakeRemote) -> FastAPI:
    app = FastAPI()
    _add_lists(app, fake)
    _add_results(app, fake)
    _add_actions(app, fake)
    _add_adapters(app, fake)
    _add_imports(app, fake)
    app.mount("/", create_app(fake))
    return app


def _add_imports(app: FastAPI, fake: FakeRemote) -> None:
    @app.post("/adapters/import")
    async def bring_in(request: Request) -> dict[str, Any]:
        kind = request.headers["content-type"]
        fake.imported.append((dict(request.query_params), kind, await request.body()))
        return {"id": "adp_9", "method_type": "imported"}


def _add_lists(app: FastAPI, fake: FakeRemote) -> None:
    @app.get("/jobs")
    def list_jobs(limit: int, status: str | None = None, cursor: int = 0) -> dict[str, Any]:
        """Pages of one job, whatever the limit."""
        rows = [{**fake.job(), "id": f"job_{n}", "base_model": "tiny"} for n in range(1, 4)]
        more = cursor + 1 < len(rows)
        return {"data": [rows[cursor]], "has_more": more, "next_cursor": cursor + 1 if more else None}

    @app.get("/jobs/{job_id}/events")
    def events(job_id: str, request: Request, after: int = 0) -> Any:
        if fake.streams is None or "text/event-stream" not in request.headers["accept"]:
            behind = [event for event in fake.stored if event["seq"] > after]
            return {"data": behind, "has_more": False, "next_cursor": None}
        fake.resumed_from.append(request.headers.get("last-event-id"))
        if not fake.has_room:
            return a_problem(503, "too_many_streams", "1000 streams are open here")
        if not fake.streams:
            return Response(status_code=204)
        sent = fake.streams.pop(0)
        return StreamingResponse(["retry: 1\n\n", *map(_shown, sent)], media_type="text/event-stream")


def _shown(event: dict[str, Any]) -> str:
    number = f"id: {event['seq']}\n" if "seq" in event else ""
    return f": still here\n\nevent: {event['type']}\ndata: {json.dumps(event)}\n{number}\n"


def _add_results(app: FastAPI, fake: FakeRemote) -> None:
    def seen(request: Request) -> None:
        fake.queries.append(dict(request.query_params))

    @app.get("/jobs/{job_id}/logs")
    def logs(job_id: str, request: Request) -> Any:
        seen(request)
        if "text/plain" in request.headers["accept"]:
            return Response("loaded\x1b[2J\nended\n", media_type="text/plain")
        rows = [{"position": 1, "attempt": 1, "text": "loaded"}]
        return {"data": rows, "has_more": False, "next_cursor": None}

    @app.get("/jobs/{job_id}/metrics")
    def metrics(job_id: str, request: Request) -> Any:
        seen(request)
        point = {"name": "loss", "step": 1, "value": 8.5, "at": "2026-11-24T10:05:00Z"}
        rows = [point | {"phase": "training", "variant": 0, "attempt": 1}]
        return {"data": rows, "has_more": False, "next_cursor": None}


def _add_actions(app: FastAPI, fake: FakeRemote) -> None:
    @app.post("/jobs/estimate")
    def estimate(body: dict[str, Any]) -> Any:
        if not fake.estimates:
            return a_problem(405, "method_not_allowed", "Method Not Allowed")
        fake.estimated.append(body)
        return ESTIMATE

    @app.post("/jobs/{job_id}/{action}")
    async def act(job_id: str, action: str, request: Request) -> Any:
        body = await request.body()
        fake.acted.append((action, json.loads(body) if body else None))
        if job_id == "job_done":
            return a_problem(409, "illegal_transition", f"job {job_id} is succeeded")
        return {**fake.job(), "status": f"{action}-ed"}

    @app.delete("/jobs/{job_id}", status_code=204)
    def delete(job_id: str) -> None:
        fake.acted.append(("delete", job_id))

    @app.post("/fact-sets/validate")
    async def validate(request: Request) -> dict[str, Any]:
        bad = b"bad" in await request.body()
        problem = {"line": 1, "column": None, "pointer": "/answer", "fact_key": "iss"}
        errors = [{**problem, "code": "blank_text", "detail": "the text is blank"}] if bad else []
        warning = {**problem, "code": "placeholder_answer", "detail": "the answer looks like none"}
        counted = {"total_errors": len(errors), "total_warnings": 1, "n_facts": 1}
        return {"valid": not bad, "errors": errors, "warnings": [warning], **counted}

    @app.post("/fact-sets", status_code=201)
    async def push(request: Request) -> dict[str, Any]:
        fake.uploads.append(await request.body())
        fake.pushed.append({"type": request.headers["content-type"], **request.query_params})
        return {"id": "fset_9", "n_facts": 1, "sha256": "0" * 64, "rejected": [], "total_rejected": 0}


def _add_adapters(app: FastAPI, fake: FakeRemote) -> None:
    @app.get("/adapters/{adapter_id}")
    def adapter(adapter_id: str) -> dict[str, Any]:
        return {"id": adapter_id, "sha256": "0" * 64, "bytes": sum(map(len, FILES.values()))}

    @app.get("/adapters/{adapter_id}/files")
    def files(adapter_id: str) -> dict[str, Any]:
        return {
            "data": [
                {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for path, content in FILES.items()
            ]
        }

    @app.get("/adapters/{adapter_id}/files/{path:path}")
    def file(adapter_id: str, path: str, request: Request) -> Response:
        fake.ranges.append(request.headers.get("range"))
        content, asked = fake.files[path], request.headers.get("range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        rest, status = content[start:], 206 if asked else 200
        if fake.break_after is not None and len(rest) > fake.break_after:
            rest, fake.break_after = rest[: fake.break_after], None
        return StreamingResponse(_blocks(rest), status)

    @app.post("/adapters/{adapter_id}/generate")
    def generate(adapter_id: str, body: dict[str, Any]) -> Any:
        fake.asked.append(body)
        fake.paths.append(adapter_id)
        if fake.inference is None:
            return a_problem(503, "inference_unavailable", "no inference process runs")
        if body.get("stream") and not isinstance(fake.inference, Response):
            lines = [f"{json.dumps(piece)}\n" for piece in fake.pieces]
            return StreamingResponse(lines, media_type="application/x-ndjson")
        return fake.inference


def _blocks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]
