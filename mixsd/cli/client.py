"""A client of the service, as any program could have one: JSON over HTTP, nothing shared with `app`."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import httpx2

from mixsd.errors import MixsdError

JSONL: Final = "application/jsonl"
PAGE: Final = 100
"""Rows of a page of a list: the most that the service gives at once."""
TRIES: Final = 5
"""How often a read is asked for while the service does not answer, or answers 503."""


class ServiceError(MixsdError):
    """The service refused, or could not be reached. The message is one line."""

    code: ClassVar[str] = "service"


class Client:
    """Speaks to one service, with an API key if it has one; redirects are not followed with it.

    Reads are repeated while the service is out of reach; what creates something is sent once.
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
        self._url = url
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Ask once whether the service takes jobs. Never raises."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def create_fact_set(self, jsonl: bytes, *, name: str) -> dict[str, Any]:
        """Store facts for later jobs."""
        return self._json(
            "POST", "/fact-sets", content=jsonl, params={"name": name}, headers={"Content-Type": JSONL}
        )

    def create_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a job and return it as it stands."""
        return self._json("POST", "/jobs", json=dict(request))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as it stands."""
        return self._read(f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job."""
        self._json("POST", f"/jobs/{job_id}/cancel")

    def report(self, job_id: str) -> dict[str, Any]:
        """Return what came of a job."""
        return self._read(f"/jobs/{job_id}/report")

    def facts(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the results of all facts of a job, page by page."""
        params: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = self._read(f"/jobs/{job_id}/facts", params)
            yield from page["data"]
            if not page["has_more"]:
                return
            params["cursor"] = page["next_cursor"]

    def download_adapter(self, adapter_id: str, target: Path) -> None:
        """Write the archive of an adapter to `target`, which is complete or absent afterwards."""
        partial = target.with_name(f"{target.name}.partial")
        try:
            with self._http.stream("GET", f"/adapters/{adapter_id}/download") as answer:
                if not answer.is_success:
                    answer.read()
                    raise ServiceError(_said(answer))
                with partial.open("wb") as file:
                    for block in answer.iter_bytes():
                        file.write(block)
            partial.replace(target)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def _read(self, path: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        for _ in range(TRIES - 1):
            try:
                answer = self._http.get(path, params=params)
            except httpx2.TransportError:
                pass
            else:
                if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    return _json_of(answer)
            self._sleep(1.0)
        return self._json("GET", path, params=params)

    def _json(self, verb: str, path: str, **body: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(verb, path, **body)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return _json_of(answer)

    def _unreachable(self, error: httpx2.HTTPError) -> ServiceError:
        return ServiceError(f"no answer from {self._url}: {str(error) or type(error).__name__}")


def _json_of(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise ServiceError(_said(answer))
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServiceError(f"{_asked(answer)} answered no JSON object: is this a MixSD service?")
    return body


def _said(answer: httpx2.Response) -> str:
    """Bring a problem document, or any other refusal, into one line."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    said = [str(problem.get("detail") or problem.get("title") or answer.reason_phrase)]
    listed = [error for error in problem.get("errors") or () if isinstance(error, dict)]
    said += [_place_and_detail(error) for error in listed[:3]]
    total = problem.get("total_errors", len(listed))
    if total > len(listed[:3]):
        said.append(f"and {total - len(listed[:3])} more")
    code = f" [{problem['code']}]" if "code" in problem else ""
    return " ".join(f"{_asked(answer)} answered {answer.status_code}{code}: {'; '.join(said)}".split())


def _place_and_detail(error: Mapping[str, Any]) -> str:
    line = f"line {error['line']}" if error.get("line") else ""
    place = line or error.get("pointer") or ""
    return f"{place}: {error.get('detail', '')}" if place else str(error.get("detail", ""))


def _asked(answer: httpx2.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path}"
