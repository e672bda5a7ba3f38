"""What happens to a job, as it happens: streamed where the service does that, else asked for."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mixsd.cli.client import PAGE, Client, RefusedError, ServiceError, UnreachableError
from mixsd.cli.watch import Display

EVENT_STREAM: Final = "text/event-stream"
POLL_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5
"""Least time between two looks at a job."""
RETRY_SECONDS: Final = 3.0
"""Wait before connecting again, unless the service names another."""
RECONNECTS: Final = 20
"""How often in a row a stream may break off without a single line: a minute, while a service restarts."""

_NOTHING_FOLLOWS: Final = 204
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429
_NO_ROOM: Final = "too_many_streams"

Event = dict[str, Any]


def watch(
    client: Client,
    job_id: str,
    display: Display,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Show a job until it is terminal, with warnings among its events, and return it."""
    job = client.job(job_id)
    display.show(job)
    if job["terminal"]:
        return job
    looked, is_stale, last = clock(), False, 0
    happened = happenings(client, job_id, sleep=sleep)
    while not job["terminal"]:
        event = next(happened)
        _note(display, event)
        last = (event or {}).get("seq", last)
        too_soon = clock() - looked < LOOK_SECONDS and not _ends(event)
        if event is not None and _is_progress(event) and (too_soon or not is_stale):
            job = _further(job, event["data"])
        elif event is not None and too_soon:
            is_stale = is_stale or bool(event)
            continue
        else:
            job, looked, is_stale = client.job(job_id), clock(), False
        display.show(job)
    for event in _rest(client, job_id, last):
        _note(display, event)
    return job


def _note(display: Display, event: Event | None) -> None:
    if event is not None and event.get("level") in {"warning", "error"}:
        display.note(event_line(event))


def _is_progress(event: Event) -> bool:
    """Say whether it is news of a phase, which is not stored."""
    return event.get("type") == "job.progress" and "phase" in event.get("data", ())


def _further(job: dict[str, Any], phase: dict[str, Any]) -> dict[str, Any]:
    """Return a job that is so far in a phase."""
    phases = {each["phase"]: each for each in job["progress"]} | {phase["phase"]: phase}
    return {**job, "progress": list(phases.values())}


def happenings(
    client: Client, job_id: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Event | None]:
    """Yield the events of a job in order, each once, without end. None: there are no more for now.

    One that is empty says no more than that the service is there, and one without `seq` how far a
    phase is.

    Whether the story is over, the job itself says: one that failed may be retried. A stream that
    breaks off is taken up behind the last event that came.

    Raises:
        UnreachableError: The service stays away.
    """
    last = 0
    for event in _streamed_or_asked(client, f"/jobs/{job_id}/events", sleep):
        seq = (event or {}).get("seq")
        if seq is not None:
            if seq <= last:
                continue
            last = seq
        yield event


def followed(client: Client, job_id: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Event]:
    """Yield what the list of events holds in the end, in order, until the job is terminal."""
    last = 0
    for event in happenings(client, job_id, sleep=sleep):
        if event and "seq" in event:
            last = event["seq"]
            yield event
        elif event is None and client.job(job_id)["terminal"]:
            yield from _rest(client, job_id, last)
            return


def _rest(client: Client, job_id: str, last: int) -> Iterator[Event]:
    """Yield the events behind the last one: a stream may have broken off before they came."""
    for event in client.every(f"/jobs/{job_id}/events", {"after": last}):
        if event["seq"] > last:
            yield event


def _streamed_or_asked(client: Client, path: str, sleep: Callable[[float], None]) -> Iterator[Event | None]:
    reader = Reader()
    failures = 0
    while True:
        headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
        is_over, wait = False, reader.retry
        try:
            with client.stream(path, headers=headers | reader.headers()) as answer:
                is_over = answer.status_code == _NOTHING_FOLLOWS
                if EVENT_STREAM not in answer.headers.get("content-type", "") and not is_over:
                    break
                for event in reader.events(answer.iter_lines()):
                    failures, is_over = 0, _ends(event) if event else is_over
                    yield event
        except (RefusedError, UnreachableError) as error:
            if isinstance(error, RefusedError) and error.problem.get("code") == _NO_ROOM:
                break
            failures += 1
            if failures > RECONNECTS or not _passes(error):
                raise
            wait = max(wait, error.retry_after if isinstance(error, RefusedError) else 0.0)
        else:
            failures += 1  # it ended though the job has not
            if failures > RECONNECTS:
                break
        if is_over:  # else the service may just be gone, and the next stream will tell
            yield None
        sleep(wait)
    yield from _asked(client, path, sleep)


def _asked(client: Client, path: str, sleep: Callable[[float], None]) -> Iterator[Event | None]:
    """Ask for the list again and again, from its last page on."""
    query: dict[str, str | int] = {"limit": PAGE}
    while True:
        page = client.read(path, query)
        yield from page["data"]
        if page["has_more"]:
            query["cursor"] = page["next_cursor"]
        else:
            yield None
            sleep(POLL_SECONDS)


def _passes(error: RefusedError | UnreachableError) -> bool:
    """Say whether it may be over a moment later: a proxy answers so while the service is started anew.

    So does a service that was asked too often.
    """
    return not isinstance(error, RefusedError) or error.status >= _SERVER_ERROR or error.status == _TOO_MANY


class Reader:
    """Reads server-sent events, and remembers what is needed to go on after a break."""

    def __init__(self) -> None:
        self.retry = RETRY_SECONDS
        self._last_id = ""

    def headers(self) -> dict[str, str]:
        """Return what a request must say to be sent only what is new."""
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    def events(self, lines: Iterable[str]) -> Iterator[Event]:
        """Yield what the lines hold; an empty event for a comment.

        Raises:
            ServiceError: It is no JSON object.
        """
        data: list[str] = []
        last_id = self._last_id
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if line:
                    yield {}
                case "data":
                    data.append(value)
                case "id":
                    last_id = value
                case "retry" if value.isdecimal():
                    self.retry = int(value) / 1000
                case "" if data:
                    self._last_id = last_id
                    yield _event_of("\n".join(data))
                    data = []
                case _:
                    pass


def event_line(event: Event) -> str:
    """Return an event as a line to read."""
    at = str(event.get("created_at", ""))[11:19]
    phase = f" {event['phase']}:" if event.get("phase") else ""
    return f"{at} {event.get('level', ''):<7} {event.get('type', '')}{phase} {event.get('message', '')}"


def _event_of(text: str) -> Event:
    try:
        event = json.loads(text)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise ServiceError(f"an event is no JSON object: {text[:100]!r}")
    return event


def _ends(event: Event | None) -> bool:
    return (event or {}).get("type") in {"job.succeeded", "job.failed", "job.cancelled"}
