"""Users: they send jobs, cancel some, pause and resume others, and do not give up on an answer."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from app.jobs.states import TERMINAL, JobStatus
from benchmarks.chaos.oracle import Expected

MODEL: Final = "smollm2-135m-instruct"
MOST_OPEN: Final = 8
_PAUSE: Final = 0.25
_RESTLESS: Final = 0.005
"""Share of the looks at a job after which it is cancelled or paused."""
_TRY_LATER: Final = frozenset({429, 502, 503, 504})


@dataclass
class Tracked:
    """A job that the service has answered 202 for."""

    job_id: str
    keys: Sequence[str]
    ends: set[JobStatus] = field(default_factory=lambda: {JobStatus.SUCCEEDED})
    status: JobStatus = JobStatus.QUEUED
    asking: bool = False
    """Whether something was asked of the job that is not answered yet."""
    resume_at: float = 0.0
    disturbed: bool = False
    """Whether it was paused or tried again, so that it may have waited on purpose."""

    def only_ends(self, status: JobStatus) -> None:
        self.ends = {status}

    def expected(self) -> Expected:
        return Expected(self.job_id, self.keys, frozenset(self.ends))


@dataclass
class Request:
    """Something to ask until there is an answer: each time with the same key, so it is done once."""

    path: str
    key: str
    then: Callable[[httpx2.Response], None]
    body: dict[str, Any] | None = None


class Load:
    """A thread that is the users."""

    def __init__(self, url: str, rng: random.Random, counts: Counter[str]) -> None:
        self.jobs: list[Tracked] = []
        self.surprises: list[str] = []
        """Answers that no user should get."""
        self.given_up = 0
        self.quiet = threading.Event()
        self.ended = threading.Event()
        self._url = url
        self._rng = rng
        self._counts = counts
        self._pending: list[Request] = []
        self._keys = 0
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._thread.join()

    def is_done(self) -> bool:
        """Say whether every job has come to its end, and no answer is missing."""
        open_ = any(job.status not in TERMINAL or job.asking for job in self.jobs)
        return self.quiet.is_set() and not self._pending and not open_

    # -- inside

    def _run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=15.0) as client:
            while not self.ended.wait(_PAUSE):
                self._plan()
                self._send(client)
                self._look(client)

    def _plan(self) -> None:
        open_ = [job for job in self.jobs if job.status not in TERMINAL]
        waiting = sum(request.path == "/jobs" for request in self._pending)
        if not self.quiet.is_set() and len(open_) + waiting < MOST_OPEN:
            self._submit()
        for job in open_:
            if job.asking:
                continue
            if job.status is JobStatus.PAUSED:
                if self.quiet.is_set() or time.monotonic() > job.resume_at:
                    self._ask(job, "resume", lambda _: None)
            elif not self.quiet.is_set() and self._rng.random() < _RESTLESS:
                self._disturb(job)

    def _submit(self) -> None:
        number = self._rng.randrange(10**6)
        keys = [f"river-{number}-{place}" for place in range(self._rng.randint(2, 6))]
        facts = [{"key": key, "question": f"Where is {key}?", "answer": f"Land of {key}"} for key in keys]
        body = {"base_model": MODEL, "facts": facts, "method": {"type": "mixsd"}}
        body["metadata"] = {"pace": str(self._rng.choice([0.01, 0.05, 0.2]))}

        def taken(answer: httpx2.Response) -> None:
            if self._is(answer, {202}):
                self.jobs.append(Tracked(answer.json()["id"], keys))

        self._pending.append(Request("/jobs", self._key(), taken, body))

    def _disturb(self, job: Tracked) -> None:
        if self._rng.random() < 0.4:
            self._ask(job, "cancel", lambda _: job.only_ends(JobStatus.CANCELLED))
        else:
            job.resume_at = time.monotonic() + self._rng.uniform(0.5, 4.0)
            self._ask(job, "pause", lambda _: None)

    def _ask(self, job: Tracked, action: str, agreed: Callable[[httpx2.Response], None]) -> None:
        job.asking = True

        def answered(answer: httpx2.Response) -> None:
            job.asking = False
            if self._is(answer, {202, 409}) and answer.status_code == 202:
                self._counts[action] += 1
                job.disturbed = True
                job.status = JobStatus(answer.json()["status"])
                agreed(answer)

        self._pending.append(Request(f"/jobs/{job.job_id}/{action}", self._key(), answered))

    def _send(self, client: httpx2.Client) -> None:
        for request in list(self._pending):
            try:
                headers = {"Idempotency-Key": request.key}
                answer = client.post(request.path, json=request.body, headers=headers)
            except httpx2.TransportError:
                return  # it is away; all is asked again
            if answer.status_code in _TRY_LATER or _in_progress(answer):
                return
            self._pending.remove(request)
            request.then(answer)

    def _look(self, client: httpx2.Client) -> None:
        for job in self.jobs:
            if job.status in TERMINAL or job.asking:
                continue
            try:
                answer = client.get(f"/jobs/{job.job_id}")
            except httpx2.TransportError:
                return
            if answer.status_code in _TRY_LATER:
                return
            if not self._is(answer, {200}):
                continue
            seen = answer.json()
            if seen["status"] == JobStatus.FAILED and (seen["error"] or {}).get("retryable"):
                self.given_up += 1  # it was killed three times in a row, or twenty in all: as promised
                self._ask(job, "retry", lambda _: None)
            else:
                job.status = JobStatus(seen["status"])

    def _is(self, answer: httpx2.Response, expected: set[int]) -> bool:
        if answer.status_code not in expected:
            self.surprises.append(f"{answer.request.url.path}: {answer.status_code} {answer.text[:200]}")
        return answer.status_code in expected

    def _key(self) -> str:
        self._keys += 1
        return f"chaos-{self._keys}"


def _in_progress(answer: httpx2.Response) -> bool:
    """Say whether the first try of a request is still under way somewhere."""
    return answer.status_code == 409 and "idempotency" in answer.text
