"""What happens to a job, as it happens: streamed where the service does that, else asked for."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mixsd.cli.client import PAGE, Client, ServiceError, UnreachableError
from mixsd.cli.watch import Display

EVENT_STREAM: Final = "text/event-stream"
POLL_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5
"""Least time between two looks at a job."""
RETRY_SECONDS: Final = 3.0
"""Wait before connecting again, unless the service names another."""
RECONNECTS: Final = 20
"""How often in a row a stream may break off without a single line: a minute, while a service restarts."""

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
    looked = clock()
    happened = happenings(client, job_id, sleep=sleep)
    while not job["terminal"]:
        event = next(happened)
        if event is not None and event.get("level") in {"warning", "error"}:
            display.note(event_line(event))
        if event is not None and clock() - looked < LOOK_SECONDS and not _ends(event):
            continue
        job, looked = client.job(job_id), clock()
        display.show(job)
    return job


def happenings(
    client: Client, job_id: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Event | None]:
    """Yield the events of a job in order, each once, without end. None: there are no more for now.

    One that is empty says no more than that the service is there.

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
    """Yield the events of a job in order, each once, until it is terminal."""
    for event in happenings(client, job_id, sleep=sleep):
        if event:
            yield event
        elif event is None and client.job(job_id)["terminal"]:
            return


def _streamed_or_asked(client: Client, path: str, sleep: Callable[[float], None]) -> Iterator[Event | None]:
    reader = Reader()
    failures = 0
    while True:
        headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
        try:
            with client.stream(path, headers=headers | reader.headers()) as answer:
                if EVENT_STREAM not in answer.headers.get("content-type", ""):
                    break
                for event in reader.events(answer.iter_lines()):
                    failures = 0
                    yield event
        except UnreachableError:
            failures += 1
            if failures > RECONNECTS:
                raise
        else:
            failures += 1  # it ended though the job has not
            if failures > RECONNECTS:
                break
        yield None
        sleep(reader.retry)
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
