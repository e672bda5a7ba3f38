"""The API as a process of its own, with something of everything in it, and rows of bad requests to it."""

import select
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

import migrations
from app.access import Scope
from app.adapters.models import AdapterStatus
from app.db.engine import Database, make_engine
from app.ids import FactSetId, ProjectId
from app.jobs.states import OWNED, TERMINAL, JobStatus
from app.storage import LocalStore
from tests.app.keys import a_key
from tests.app.published import a_published_job
from tests.e2e.service import serving
from tests.factories import NOW, a_fact_set, a_job

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
MEBIBYTE: Final = 1 << 20
CANARY: Final = "q7Zk9canaryW3x"
"""A word that is sent in bad input, and must not come back."""

ENVIRONMENT: Final = {
    "MIXSD_AUTH": "required",
    "MIXSD_RATE_LIMIT": "0",
    "MIXSD_MAX_FACTS": "2000",
    "MIXSD_MAX_UPLOAD_BYTES": "60000000",
    "MIXSD_MAX_STREAMS": "4",
    "MIXSD_ALLOWED_MODELS": '["owner/model", "tiny"]',
    "MIXSD_ALLOWED_HOSTS": '["127.0.0.1", "*.mixsd.test"]',
    "MIXSD_TRUSTED_PROXIES": '["10.9.9.9"]',
    "MIXSD_HEARTBEAT": "10",
    "MIXSD_LEASE": "60",
    "MIXSD_REQUEST_TIMEOUT": "120",
}

_HELD: Final = {"lease_owner": "w", "lease_expires_at": NOW, "heartbeat_at": NOW}


@dataclass(frozen=True)
class Target:
    """A running API, its process, keys by what they are for, and ids by name."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    keys: Mapping[str, str]
    ids: Mapping[str, str]
    http: httpx2.Client

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def memory(self, name: str = "VmRSS") -> int:
        """Return a measure of the process in bytes, as Linux counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith(f"{name}:")]
        return int(line.split()[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def get(self, path: str, key: str = "owner", **options: Any) -> httpx2.Response:
        return self.http.get(path.format(**self.ids), headers=self.headers(key), **options)

    def headers(self, key: str = "owner") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"} if key else {}


@dataclass(frozen=True)
class Row:
    """A bad request, and how it is answered.

    Attributes:
        number: Of the list of bad input; several rows may have one.
        code: Of the problem; empty where the answer is no error.
        error: Code of one of the problems that are listed.
        key: Which key is shown: `owner`, `reader`, `stranger`, or empty for none.
    """

    number: int
    what: str
    method: str
    path: str
    status: int
    code: str = ""
    error: str = ""
    body: bytes | None = None
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = "owner"

    def __str__(self) -> str:
        return f"{self.number}-{self.what}".replace(" ", "-")

    def send(self, target: Target) -> httpx2.Response:
        headers = {**target.headers(self.key), **self.headers}
        if self.body is not None and self.kind:
            headers["Content-Type"] = self.kind
        path = self.path
        for name, value in target.ids.items():  # paths may hold braces of their own
            path = path.replace(f"{{{name}}}", value)
        return target.http.request(self.method, path, content=self.body, headers=headers)

    def check(self, target: Target) -> None:
        """Send it, and look at the answer."""
        answer = self.send(target)
        assert answer.status_code == self.status, answer.text[:600]
        assert CANARY not in answer.text
        if self.code:
            assert_problem(answer.headers, answer.json(), self.status, self.code)
        if self.error:
            listed = {error["code"] for error in answer.json()["errors"]}
            assert self.error in listed, answer.text[:600]


def assert_problem(headers: Mapping[str, str], problem: Any, status: int, code: str) -> None:
    assert headers["content-type"] == PROBLEM
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"
    assert len(problem.get("errors", [])) <= 1000


def exchange(target: Target, *parts: bytes, patience: float = 120) -> tuple[int, bytes]:
    """Send bytes as they are and read until the server closes; return status and all that it said.

    The rest is not sent once it has answered. A server that neither answers nor closes within
    `patience` seconds is an error.
    """
    with socket.create_connection(("127.0.0.1", target.port), timeout=patience) as wire:
        said = b""
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered and hung up
            for part in parts:
                wire.sendall(part)
                if select.select([wire], [], [], 0.05 if len(part) > 10_000 else 0)[0]:
                    break  # it has answered; what is sent after that would cost us the answer
        with suppress(ConnectionResetError):
            while piece := wire.recv(65536):
                said += piece
    status = int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else 0
    return status, said


def head(target: Target, method: str, path: str, *lines: str, key: str = "owner") -> bytes:
    """Return the head of a request, without the empty line at its end."""
    shown = [f"{name}: {value}" for name, value in target.headers(key).items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *shown, *lines, ""]).encode()


@contextmanager
def bad_input_target(folder: Path, **environment: str) -> Iterator[Target]:
    """Run `mixsd api` on SQLite; give it with two projects that have something of everything."""
    engine = make_engine(f"sqlite:///{folder / 'mixsd.db'}")
    migrations.upgrade(engine)
    database, store = Database(engine), LocalStore(folder / "artifacts")
    owner, stranger = a_key(database, "ours"), a_key(database, "theirs")
    keys = {
        "owner": owner.secret,
        "reader": a_key(database, "ours", [Scope.READ]).secret,
        "writer": a_key(database, "ours", [Scope.READ, Scope.WRITE]).secret,
        "stranger": stranger.secret,
    }
    ids = _something_of_everything(database, store, ProjectId(owner.project_id))
    theirs = a_published_job(database, store, project_id=ProjectId(stranger.project_id), base_model="tiny")
    ids |= {
        "their_job": theirs.job_id,
        "their_adapter": theirs.adapter_id,
        "their_fact_set": theirs.fact_set_id,
        "their_evaluation": theirs.evaluation_id,
    }
    engine.dispose()
    told = {**ENVIRONMENT, "MIXSD_DATA_DIR": str(folder), **environment}
    with (
        serving("api", told, folder) as (service, process),
        # Each request has a connection of its own: one that rests may be closed while it is used again.
        httpx2.Client(
            base_url=service.url, timeout=120, limits=httpx2.Limits(max_keepalive_connections=0)
        ) as http,
    ):
        yield Target(service.url, process, folder / "service.log", keys, ids, http)


def _something_of_everything(database: Database, store: LocalStore, project_id: ProjectId) -> dict[str, str]:
    published = a_published_job(database, store, project_id=project_id, base_model="tiny")
    held = a_published_job(
        database, store, project_id=project_id, status=AdapterStatus.QUARANTINED, base_model="tiny"
    )
    ids: dict[str, str] = {
        "job": published.job_id,
        "adapter": published.adapter_id,
        "fact_set": published.fact_set_id,
        "evaluation": published.evaluation_id,
        "held_adapter": held.adapter_id,
        "spare_fact_set": a_fact_set(database, project_id=project_id).id,
        "used_fact_set": a_fact_set(database, project_id=project_id).id,
        "random_job": "job_019ab3c4d5e67f8091a2b3c4d5e6f708",
        "random_adapter": "adp_019ab3c4d5e67f8091a2b3c4d5e6f708",
        "random_fact_set": "fset_019ab3c4d5e67f8091a2b3c4d5e6f708",
    }
    for status in JobStatus:
        rest: dict[str, Any] = dict(_HELD) if status in OWNED else {}
        if status in TERMINAL:
            rest["finished_at"] = NOW
        if status is JobStatus.FAILED:
            rest |= {"error_category": "system", "error_code": "worker_lost", "error_message": "lost"}
        ids[f"{status}_job"] = a_job(
            database, FactSetId(ids["used_fact_set"]), status=status, project_id=project_id, **rest
        )
    return ids
