"""What may go wrong while a job is watched."""

from typing import ClassVar

from app.errors import GoneError, MalformedError, UnavailableError


class BadEventIdError(MalformedError):
    code: ClassVar[str] = "bad_event_id"

    def __init__(self) -> None:
        super().__init__("`Last-Event-ID` must be the `id` of an event of this stream, which is a number")


class TooManyStreamsError(UnavailableError):
    code: ClassVar[str] = "too_many_streams"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} streams are open here: end one, ask again later, or poll the list of events"
        )


class LogGoneError(GoneError):
    code: ClassVar[str] = "job_log_gone"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the log of {job_id} is no longer kept: its events are, see /jobs/{job_id}/events")
