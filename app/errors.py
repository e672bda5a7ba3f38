"""Errors that a caller may cause. Anything else is a bug and becomes a 500."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing that is wrong with the input, and where: a line and column, or a JSON pointer."""

    code: str
    detail: str
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    fact_key: str | None = None


def listed(problems: Sequence[InputProblem], total: int | None = None) -> Mapping[str, object]:
    """Return the members of a problem document that list what is wrong with the input."""
    return {"errors": problems, "total_errors": len(problems) if total is None else total}


class AppError(Exception):
    """Base of every expected failure.

    Subclasses set `code`, a stable identifier that clients may test, and inherit from one
    of the kinds below, which alone decides the HTTP status (see `app.web.problems`).
    """

    code: ClassVar[str]

    def members(self) -> Mapping[str, object]:
        """Return what the problem document says beyond `code` and `detail`."""
        return {}

    def headers(self) -> Mapping[str, str]:
        """Return headers that the answer has beside."""
        return {}


class MalformedError(AppError):
    """The request cannot be read at all."""


class UnauthenticatedError(AppError):
    """The caller has not said, or not proved, who it is."""


class ForbiddenError(AppError):
    """The caller may see the thing but not do this to it."""


class NotFoundError(AppError):
    """The thing does not exist, or the caller may not know that it does."""


class GoneError(AppError):
    """The thing was there, and is not any more."""


class ConflictError(AppError):
    """The request is well formed but the current state forbids it."""


class TooLargeError(AppError):
    """The request is bigger than the operator allows."""


class LateError(AppError):
    """The client has begun a request and does not go on with it."""


class LongUriError(AppError):
    """The address of the request is longer than any of ours."""


class LargeHeadersError(AppError):
    """The headers of the request are larger than any that we need."""


class RangeError(AppError):
    """The client asked for a part of something that has no such part."""


class InvalidError(AppError):
    """The request is well formed but its content makes no sense."""


class TooManyError(AppError):
    """The caller has used up a rate limit or a quota.

    `retry_after` is the number of seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class UnavailableError(AppError):
    """A dependency is down; the same request may succeed later."""


class InsufficientStorageError(AppError):
    """The disk is full; the same request may succeed once there is room."""


class UnsupportedMediaError(AppError):
    """The body is of a type that this route does not read."""
