"""Events as they go over the wire, see the HTML standard on server-sent events."""

from typing import Final, NamedTuple

from fastapi.sse import format_sse_event

from app.events.models import Event
from app.events.schemas import EventRead
from app.jobs.models import JobPhase
from app.live.schemas import ProgressEvent

RETRY: Final = format_sse_event(retry=3000)
"""Milliseconds after which a client comes again that lost its connection."""

COMMENT: Final = format_sse_event(comment="still here")


class Frame(NamedTuple):
    """An event, ready to be sent."""

    seq: int
    data: bytes


def frame_of(event: Event) -> Frame:
    shown = EventRead.model_validate(event).model_dump_json()
    return Frame(event.seq, format_sse_event(data_str=shown, event=event.type, id=str(event.seq)))


def progress_of(row: JobPhase) -> bytes:
    """Return news of a phase. It has no `id`, so that a client comes again behind what is stored."""
    shown = ProgressEvent.of(row)
    return format_sse_event(data_str=shown.model_dump_json(), event=shown.type)
