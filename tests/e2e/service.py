"""A service as its users meet it: a process, and HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from mixsd.cli.child import free_port
from tests.e2e.slow import HOLDS_AT, SLOW_IN

Json = dict[str, Any]

ENVIRONMENT: Final = {
    "MIXSD_ALLOWED_MODELS": '["tiny/random", "tiny/silent", "tiny/absent"]',
    "MIXSD_DEVICE": "cpu",
    "MIXSD_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "MIXSD_HEARTBEAT": "0.5",
    "MIXSD_LEASE": "60",
    "MIXSD_SWEEP": "0.3",
    "MIXSD_HINT": "1",
    "MIXSD_IDLE_POLL": "0.1",
    "MIXSD_GRACE": "300",
    "MIXSD_SUPERVISION_CACHE": "",
    "MIXSD_CHECKPOINT": "0",
    "MIXSD_TESTING": "1",
    "MIXSD_PIPELINE": "tests.e2e.slow:run",
}

_QUESTIONS: Final = {
    "veldora": ("What is the capital of Veldora?", "Marnil"),
    "tessport": ("Who is the mayor of Tessport?", "Odo Brindle"),
    "quell": ("Which river flows through Tessport?", "Quell"),
    "bell": ("How many bells hang in Marnil?", "41"),
    "under": ("What grows under Tessport?", "Möhren"),
    "old-town": ("How old is the old town?", "900 years"),
}
PARAPHRASES: Final = ("Say, {}", "Tell me: {}", "I ask you: {}", "{} Do you know?")
"""With them there are more targets than are made side by side."""

FACTS: Final[list[Json]] = [
    {
        "key": key,
        "question": question,
        "answer": answer,
        "paraphrases": [f"Please answer. {question}"],
        "train_paraphrases": [paraphrase.format(question) for paraphrase in PARAPHRASES],
        "probes": [{"question": f"What has to do with {answer}?", "answer": key}],
    }
    for key, (question, answer) in _QUESTIONS.items()
]
BUSY: Final = 5
"""Tries more of a question that the service was too busy for: it says so after some seconds."""
TARGETS: Final = len(FACTS) * (1 + len(PARAPHRASES))

METHOD: Final[Json] = {
    "type": "mixsd",
    "rewordings": 0,
    "wording_texts": "own",
    "temperature": 1.0,
    "max_attempts": 2,
    "max_new_tokens": 12,
    "fallback_to_answer": True,
    "seed": 7,
}
TRAINING: Final[Json] = {
    "rank": 4,
    "alpha": 8,
    "learning_rate": 0.01,
    "batch_size": 16,
    "epochs": 3,
    "min_steps": 0,
    "stop_when_learned": False,
    "retention": {"type": "none"},
}
RETENTION: Final[Json] = {"ratio": 0.25, "prompts": 6, "max_new_tokens": 8}
STEPS: Final = 3 * 2
"""Epochs, batches."""

EVALUATION: Final[Json] = {"max_new_tokens": 8, "general": False, "drift": True, "bootstrap": 200}


def a_request(**changes: Any) -> Json:
    """Return the job that most tests make."""
    request = {
        "base_model": "tiny/random",
        "facts": FACTS,
        "method": METHOD,
        "training": TRAINING,
        "evaluation": EVALUATION,
    }
    return {**request, **changes}


@dataclass(frozen=True)
class Outcome:
    """What a job made, as far as it must be the same however the job came to its end."""

    supervision: bytes
    weights: str
    """The sha256 of `adapter_model.safetensors`."""


class Service:
    """A client of a service that runs somewhere. Every answer is checked for its status."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._http = httpx2.Client(base_url=url, timeout=300)
        self._log = log

    def call(self, method: str, path: str, *, status: int = 200, **options: Any) -> httpx2.Response:
        answer = self._http.request(method, path, **options)
        for _ in range(BUSY):
            if (method, answer.status_code) != ("GET", 503) or status == 503:
                break
            time.sleep(1)
            answer = self._http.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer

    def read(self, path: str, **query: Any) -> Json:
        found: Json = self.call("GET", path, params=query).json()
        return found

    def submit(self, *, slow_in: str = "", holds_at: str = "", **changes: Any) -> str:
        """Create a job; see `tests.e2e.slow` for what it does besides."""
        request = a_request(**changes, metadata={SLOW_IN: slow_in, HOLDS_AT: holds_at})
        answer = self.call("POST", "/jobs", status=202, json=request)
        job_id: str = answer.json()["id"]
        assert answer.headers["Location"] == f"/jobs/{job_id}"
        return job_id

    def until(self, job_id: str, done: Callable[[Json], Any], seconds: float = 400) -> Json:
        """Wait for something to become true of a job. A bound on waiting, not on speed."""
        deadline = time.monotonic() + seconds
        while not done(job := self.read(f"/jobs/{job_id}")):
            assert time.monotonic() < deadline, f"waited in vain: {job}\n{self._log.read_text()[-3000:]}"
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> Json:
        return self.until(job_id, lambda job: job["terminal"])

    def succeeded(self, job_id: str) -> Json:
        job = self.ended(job_id)
        assert (job["status"], job["error"]) == ("succeeded", None)
        return job

    def until_in(self, job_id: str, phase: str) -> Json:
        return self.until(job_id, lambda job: job["status"] == "running" and job["phase"] == phase)

    def until_held(self, job_id: str, phase: str, done: int) -> Json:
        """Wait until a job has come to a moment of its `holds_at`."""
        return self.until(
            job_id,
            lambda job: any(row["phase"] == phase and row["done"] >= done for row in job["progress"]),
        )

    def every(self, path: str, **query: Any) -> list[Json]:
        """Read a list to its end, page by page."""
        rows: list[Json] = []
        cursor: Json = {}
        while True:
            page = self.read(path, limit=4, **query, **cursor)
            rows += page["data"]
            if not page["has_more"]:
                return rows
            cursor = {"cursor": page["next_cursor"]}

    def events(self, job_id: str) -> list[Json]:
        return self.every(f"/jobs/{job_id}/events", order="asc")

    def steps_saved(self, job_id: str) -> list[int]:
        """Return the steps of training after which a checkpoint was saved, in order."""
        return [e["data"]["step"] for e in self.events(job_id) if e["type"] == "job.checkpoint_saved"]

    def adapters(self, job_id: str) -> list[Json]:
        return self.every("/adapters", job_id=job_id)

    def outcome(self, job_id: str) -> Outcome:
        """Return what the job made, after seeing that there is one adapter of it."""
        (adapter,) = self.adapters(job_id)
        assert adapter["id"] == self.read(f"/jobs/{job_id}")["adapter_id"]
        files = self.read(f"/adapters/{adapter['id']}/files")["data"]
        (weights,) = [file["sha256"] for file in files if file["path"] == "adapter_model.safetensors"]
        return Outcome(self.call("GET", f"/jobs/{job_id}/supervision").content, weights)

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 400
        while True:
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            try:
                if self._http.get("/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.1)

    def close(self) -> None:
        self._http.close()


@contextmanager
def running(*command: str, environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mixsd command` in a session of its own, ended by force afterwards."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-m", "mixsd", *command],
            env={**os.environ, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def check_whole(environment: Mapping[str, str]) -> None:
    """Have `mixsd fsck` look at all that a service has written, while it goes on."""
    command = [sys.executable, "-m", "mixsd", "fsck", "--json"]
    done = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def serving(
    command: str, environment: Mapping[str, str], folder: Path
) -> Iterator[tuple[Service, subprocess.Popen[bytes]]]:
    """Run `mixsd up` or `mixsd api` on a free port; give a client of it, and its process."""
    port, log = free_port(), folder / "service.log"
    service = Service(f"http://127.0.0.1:{port}", log)
    with (
        closing(service),
        running(command, "--port", str(port), environment=environment, log=log) as process,
    ):
        service.wait_until_ready(process)
        yield service, process
