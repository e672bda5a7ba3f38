"""HTTP face of a job that is watched: its events, also as they happen, its metrics and its log."""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, cast

from anyio import CancelScope
from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse
from starlette.types import Send

from app.db.lists import Cut
from app.events.schemas import EventRead
from app.ids import JobId
from app.live import service
from app.live.errors import BadEventIdError, TooManyStreamsError
from app.live.logs import Line
from app.live.schemas import LogLine
from app.live.watching import Live
from app.metrics.schemas import MetricRead
from app.web.access import Admission
from app.web.deps import DatabaseDep, DoorkeeperDep, ProjectDep, SettingsDep
from app.web.negotiation import preferred
from app.web.paging import Cursor, Limit, NumberCutDep, Page, SealDep
from app.web.problems import problems

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_TEXT: Final = "text/plain"
_VARY: Final = {"Vary": "Accept"}
_BIGGEST: Final = 10**18
_MOST_LINES: Final = 10_000
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_PLACE: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}:[0-9]{1,5}:[0-9]{1,18}")

_EXAMPLE: Final = """retry: 3000

event: job.checkpoint_saved
data: {"id":"evt_019ab3c4d5e67f8091a2b3c4d5e6f70b","seq":14,"type":"job.checkpoint_saved","attempt":1}
id: 14

"""

_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A page of events, or with `Accept: text/event-stream` the events as they happen: "
        "`id` is the `seq` of an event, `event` its `type`, and `data` the same JSON as in the page. Between "
        "them comes `job.progress` (a `ProgressEvent`), at most once a second, which has no `id`, and a "
        "comment every 15 seconds. The stream ends when the job has ended.",
        "content": {_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    },
    204: {"description": "Of the stream alone: the job has ended, and nothing follows. Do not come again."},
}
_LOGS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A page of lines, or with `Accept: text/plain` all of them.",
        "content": {_TEXT: {"schema": {"type": "string"}}},
    }
}


async def _live(request: Request) -> Live:
    return cast(Live, request.app.state.live)


LiveDep = Annotated[Live, Depends(_live)]


async def _after(
    after: Annotated[
        int | None, Query(ge=0, lt=_BIGGEST, description="Only events behind the one with this `seq`.")
    ] = None,
    last_event_id: Annotated[
        str,
        Header(
            alias="Last-Event-ID",
            description="Of a stream that comes again: the `id` that it has seen last.",
            json_schema_extra={"pattern": "^[0-9]{0,15}$"},
        ),
    ] = "",
) -> int | None:
    """Return the number behind which a client wants events: of a stream that comes again, the header's."""
    if not last_event_id:
        return after
    if not _NUMBER.fullmatch(last_event_id):
        raise BadEventIdError
    return int(last_event_id)


async def _by_place(seal: SealDep, limit: Limit = 20, cursor: Cursor = None) -> Cut[str]:
    return Cut(limit, await seal.key_in(cursor, _PLACE.fullmatch), seal=seal.encode)


class _Stream(EventSourceResponse):
    """Leaves nothing open, wherever the client goes away."""

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(frames, headers={"X-Accel-Buffering": "no", **_VARY})
        self._frames = frames

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            with CancelScope(shield=True):
                await self._frames.aclose()


@router.get("/events", response_model=Page[EventRead], responses=problems(400, 404) | _EVENTS)
def list_job_events(
    job_id: JobId,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    doorkeeper: DoorkeeperDep,
    live: LiveDep,
    cut: NumberCutDep,
    after: Annotated[int | None, Depends(_after)],
) -> Page[EventRead] | Response:
    """List what happened to a job, in order; or, with `Accept: text/event-stream`, watch it happen."""
    if cut.after is None:
        cut = replace(cut, after=after)
    response.headers.update(_VARY)
    if preferred(request.headers.get("accept", ""), [_JSON, _STREAM]) == _JSON:
        found = service.list_events(database, cut, project_id=project_id, job_id=job_id)
        return Page[EventRead].of(found, cut, key="seq")
    place = after if after is not None else cut.after or 0
    sight = service.open_stream(database, project_id=project_id, job_id=job_id, after=place)
    if sight.ended and not sight.events:
        return Response(status_code=status.HTTP_204_NO_CONTENT, headers=_VARY)
    if live.open >= settings.max_streams:
        raise TooManyStreamsError(settings.max_streams)
    still = Admission(request, doorkeeper).holds
    frames = live.follow(job_id, min(place, sight.newest), still=still)
    return _Stream(frames)


@router.get("/metrics", responses=problems(400, 404))
def list_job_metrics(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: Annotated[Cut[str], Depends(_by_place)],
    name: Annotated[str | None, Query(max_length=64, description="Only this series.")] = None,
    variant: Annotated[int | None, Query(ge=0, lt=10_000, description="Only of this variant.")] = None,
) -> Page[MetricRead]:
    """List what was measured while a job ran: series after series, each by step."""
    rows = service.list_metrics(
        database, cut, project_id=project_id, job_id=job_id, name=name, variant=variant
    )
    return Page[MetricRead].of(rows, cut, key="place")


@router.get("/logs", response_model=Page[LogLine], responses=problems(400, 404, 410) | _LOGS)
def list_job_logs(
    job_id: JobId,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    cut: NumberCutDep,
    attempt: Annotated[int | None, Query(ge=1, lt=_BIGGEST, description="Only of this attempt.")] = None,
    tail: Annotated[
        int | None, Query(ge=1, le=_MOST_LINES, description="Only so many lines, the last ones.")
    ] = None,
) -> Page[LogLine] | Response:
    """List what the process of an attempt printed, as far as it is kept: the last megabyte or two.

    The `cursor` of the last page goes on where it ended, for lines that come later.
    """
    lines = service.list_logs(
        database, settings.work_dir, project_id=project_id, job_id=job_id, attempt=attempt
    )
    if tail is not None:
        lines = lines[-tail:]
    if preferred(request.headers.get("accept", ""), [_JSON, _TEXT]) == _TEXT:
        text = "".join(f"{line.text}\n" for line in lines)
        return PlainTextResponse(text, headers=_VARY)
    response.headers.update(_VARY)
    return Page[LogLine].of(_behind(lines, cut), cut, key="position")


def _behind(lines: Sequence[Line], cut: Cut[int]) -> Sequence[Line]:
    """Return the lines of a page, and one more if more follow."""
    wanted = [line for line in lines if cut.after is None or line.position > cut.after]
    return wanted[: cut.limit + 1]
