"""A client of the service, as any program could have one: JSON over HTTP, nothing shared with `app`."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self
from uuid import uuid4

import httpx2

from mixsd.errors import MixsdError

JSONL: Final = "application/jsonl"
PAGE: Final = 100
"""Rows of a page of a list: the most that the service gives at once."""
TRIES: Final = 5
"""How often a request is sent while the service does not answer, or asks to come again."""

LONGEST_WAIT: Final = 60.0
"""Most seconds between two tries, whatever the service asks for: after a minute its count begins anew."""

_KEY: Final = "Idempotency-Key"

PATIENCE: Final = 900.0
"""Seconds that a service may take to check and store a file of facts, or to answer a question."""

Row = dict[str, Any]

_STANDS: Final = ("inference_unavailable", "inference_failed")
"""Codes of a 503 that would not be another one a moment later."""

_TOO_FAST: Final = "rate_limited"
"""Code of a 429 that is over within a minute. Others say what has been used up."""

_NO_SUCH_ROUTE: Final = {404, 405}
_NO_ROUTE_CODES: Final = {None, "not_found", "method_not_allowed"}
"""What a service answers that knows no such operation: other codes are about its arguments."""


class ServiceError(MixsdError):
    """The service refused, or could not be reached. The message is one line."""

    code: ClassVar[str] = "service"


class UnreachableError(ServiceError):
    """Nothing answers there, or it broke off. `url` says where."""

    code: ClassVar[str] = "unreachable"


class RefusedError(ServiceError):
    """The service answered that it will not. `problem` is the document that says why, or empty.

    `retry_after` is for how many seconds it asked not to be asked again; 0 if it did not say.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, status: int, problem: dict[str, Any], retry_after: float = 0.0) -> None:
        super().__init__(message, status, problem, retry_after)
        self.status, self.problem, self.retry_after = status, problem, retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class Client:
    """Speaks to one service, with an API key if it has one. Only streams follow a redirect, without it.

    Requests are repeated while the service is out of reach. What creates something or acts goes under
    an Idempotency-Key of its own, so that one whose answer was lost is carried out once.
    Every method raises `ServiceError`, whose message holds what the service said.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(base_url=url, timeout=30.0, transport=transport, headers=headers)
        self._elsewhere = httpx2.Client(timeout=30.0, transport=transport)
        self._url = url
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._elsewhere.close()

    def is_ready(self) -> bool:
        """Ask once whether the service takes jobs. Never raises."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def create_fact_set(self, jsonl: bytes, *, name: str) -> dict[str, Any]:
        """Store facts for later jobs."""
        kind = {"Content-Type": JSONL}
        return self._once("/fact-sets", content=jsonl, params={"name": name}, headers=kind)

    def push_facts(
        self, file: Path, *, media_type: str, name: str = "", on_error: str = "reject"
    ) -> dict[str, Any]:
        """Store a file of facts, of which little is held in memory. Sent once.

        Raises:
            RefusedError: The service did not take it; the problem lists why.
            OSError: The file cannot be read.
        """
        params = {"on_error": on_error} | ({"name": name} if name else {})
        return self._send_file("/fact-sets", file, media_type, params)

    def check_facts(self, file: Path, *, media_type: str) -> dict[str, Any]:
        """Have a file of facts judged; nothing is stored. Raises as `push_facts` does."""
        return self._send_file("/fact-sets/validate", file, media_type, {})

    def import_adapter(self, archive: Path, *, media_type: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Bring in an adapter that was made elsewhere. Sent once. Raises as `push_facts` does."""
        return self._send_file("/adapters/import", archive, media_type, params)

    def _send_file(self, path: str, file: Path, kind: str, params: Mapping[str, str]) -> dict[str, Any]:
        patience = httpx2.Timeout(30.0, read=PATIENCE, write=PATIENCE)
        with file.open("rb") as content:
            try:
                answer = self._http.post(
                    path, content=content, params=params, headers={"Content-Type": kind}, timeout=patience
                )
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from error
        return _json_of(answer)

    def estimate(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask what a job would take. None if the service makes no estimates.

        Raises:
            RefusedError: It would not take such a job.
        """
        try:
            return self._persist("POST", "/jobs/estimate", json=dict(request))
        except RefusedError as error:
            if error.status in _NO_SUCH_ROUTE and error.problem.get("code") in _NO_ROUTE_CODES:
                return None
            raise

    def create_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a job and return it as it stands."""
        return self._once("/jobs", json=dict(request))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as it stands."""
        return self.read(f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job."""
        self.act(job_id, "cancel")

    def act(self, job_id: str, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Cancel, pause, resume or retry a job, and return it as it stands."""
        return self._once(f"/jobs/{job_id}/{action}", **({} if body is None else {"json": dict(body)}))

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended. Its adapter stays."""
        self._persist("DELETE", f"/jobs/{job_id}")

    def report(self, job_id: str) -> dict[str, Any]:
        """Return what came of a job."""
        return self.read(f"/jobs/{job_id}/report")

    def text(self, path: str, params: Mapping[str, str | int], *, accept: str = "*/*") -> str:
        """Return the text that is there."""
        answer = self._answer("GET", path, params=params, headers={"Accept": accept})
        if not answer.is_success:
            raise _refusal(answer)
        return answer.text

    def facts(self, job_id: str, outcome: str = "", variant: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the results of all facts of a job, or those with that outcome, page by page.

        Of a job with several variants, those of one: the recommended one if none is named.
        """
        query = ({"outcome": outcome} if outcome else {}) | ({} if variant is None else {"variant": variant})
        yield from self.every(f"/jobs/{job_id}/facts", query)

    def every(self, path: str, params: Mapping[str, str | int] = MappingProxyType({})) -> Iterator[Row]:
        """Yield all rows of a list, page by page."""
        query: dict[str, str | int] = {"limit": PAGE, **params}
        while True:
            page = self.read(path, query)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["cursor"] = page["next_cursor"]

    def read(self, path: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """Return the JSON object that is there."""
        return self._persist("GET", path, params=params)

    def generate(self, adapter_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask an adapter, and its base model beside it."""
        patience = httpx2.Timeout(30.0, read=PATIENCE)
        return self._persist("POST", f"/adapters/{adapter_id}/generate", json=dict(body), timeout=patience)

    def generate_by_pieces(self, adapter_id: str, body: Mapping[str, Any]) -> Iterator[Row]:
        """Ask an adapter, and yield what is said while it is written, `delta` and `answer`, to the last.

        Raises:
            RefusedError: The service did not take the question, or gave up on it.
            UnreachableError: It broke off.
        """
        asked, headers = {**body, "stream": True}, {"Accept": "application/x-ndjson"}
        path = f"/adapters/{adapter_id}/generate"
        with self.stream(path, verb="POST", body=asked, headers=headers, silence=PATIENCE) as answer:
            for line in answer.iter_lines():
                row = _row_of(line)
                if row.get("type") == "done":
                    return
                if row.get("type") == "error":
                    raise RefusedError(_said(answer, row), row.get("status", 503), row)
                yield row
        raise UnreachableError(f"POST {path} broke off before all was said")

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        verb: str = "GET",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        silence: float = 30.0,
    ) -> Iterator[httpx2.Response]:
        """Open an answer that is read bit by bit; `silence` bounds the seconds between two bits.

        A service may send a reader on, once, to where its files lie.

        Raises:
            RefusedError: The service did not give it.
            UnreachableError: Nothing answered, or the answer broke off, within the block too.
        """
        timeout = httpx2.Timeout(30.0, read=silence)
        try:
            with ExitStack() as opened:
                answer = opened.enter_context(
                    self._http.stream(verb, path, json=body, headers=dict(headers), timeout=timeout)
                )
                if verb == "GET" and answer.has_redirect_location:
                    to = answer.url.join(answer.headers["location"])
                    answer = opened.enter_context(
                        self._elsewhere.stream(verb, to, headers=dict(headers), timeout=timeout)
                    )
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                yield answer
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def export(self, adapter_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have an adapter exported; returns the job."""
        return self._once(f"/adapters/{adapter_id}/exports", json=dict(body))

    def download_adapter(self, adapter_id: str, target: Path) -> None:
        """Write the archive of an adapter to `target`, which is complete or absent afterwards."""
        partial = target.with_name(f"{target.name}.partial")
        try:
            with self.stream(f"/adapters/{adapter_id}/download") as answer, partial.open("wb") as file:
                for block in answer.iter_bytes():
                    file.write(block)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _once(
        self, path: str, *, headers: Mapping[str, str] = MappingProxyType({}), **body: Any
    ) -> dict[str, Any]:
        return self._persist("POST", path, headers={**headers, _KEY: uuid4().hex}, **body)

    def _persist(self, verb: str, path: str, **body: Any) -> dict[str, Any]:
        return _json_of(self._answer(verb, path, **body))

    def _answer(self, verb: str, path: str, **body: Any) -> httpx2.Response:
        """Send a request that may be repeated, until there is an answer that stands."""
        for _ in range(TRIES - 1):
            wait = 1.0
            try:
                answer = self._http.request(verb, path, **body)
            except httpx2.TransportError:
                pass
            else:
                if not _asks_to_come_again(answer):
                    return answer
                wait = max(wait, _retry_after(answer))
            self._sleep(wait)
        try:
            return self._http.request(verb, path, **body)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx2.HTTPError) -> UnreachableError:
        return UnreachableError(f"no answer from {self._url}: {str(error) or type(error).__name__}")


def _asks_to_come_again(answer: httpx2.Response) -> bool:
    if answer.status_code == httpx2.codes.CONFLICT:
        return "idempotency_in_progress" in answer.text
    if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        return _TOO_FAST in answer.text
    unavailable = answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
    return unavailable and not any(code in answer.text for code in _STANDS)


def _retry_after(answer: httpx2.Response) -> float:
    """Return for how long the service does not want to be asked, at most `LONGEST_WAIT`."""
    said = answer.headers.get("retry-after", "")
    return min(float(said), LONGEST_WAIT) if said.isdecimal() else 0.0


def _refusal(answer: httpx2.Response) -> RefusedError:
    problem = _problem_in(answer)
    return RefusedError(_said(answer, problem), answer.status_code, problem, _retry_after(answer))


def _json_of(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise _refusal(answer)
    if answer.status_code == httpx2.codes.NO_CONTENT:
        return {}
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServiceError(f"{_asked(answer)} answered no JSON object: is this a MixSD service?")
    return body


def _problem_in(answer: httpx2.Response) -> dict[str, Any]:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {}


def _row_of(line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ServiceError(f"a line of the answer is no JSON object: {line[:100]!r}")
    return row


def _said(answer: httpx2.Response, problem: Mapping[str, Any]) -> str:
    """Bring a problem document, or any other refusal, into one line."""
    said = [str(problem.get("detail") or problem.get("title") or answer.reason_phrase)]
    listed = [error for error in problem.get("errors") or () if isinstance(error, dict)]
    said += [_place_and_detail(error) for error in listed[:3]]
    total = problem.get("total_errors", len(listed))
    if total > len(listed[:3]):
        said.append(f"and {total - len(listed[:3])} more")
    code = f" [{problem['code']}]" if "code" in problem else ""
    status = problem.get("status", answer.status_code)
    return " ".join(f"{_asked(answer)} answered {status}{code}: {'; '.join(said)}".split())


def _place_and_detail(error: Mapping[str, Any]) -> str:
    line = f"line {error['line']}" if error.get("line") else ""
    place = line or error.get("pointer") or ""
    return f"{place}: {error.get('detail', '')}" if place else str(error.get("detail", ""))


def _asked(answer: httpx2.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path}"
