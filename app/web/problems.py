"""Errors as `application/problem+json` (RFC 9457).

But where clients of another API ask, they are in the shape that those read: `app.web.openai_errors`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from app import errors
from app.storage import StoreUnavailableError
from app.web import invalid, openai_errors
from app.web.allowed import allowed_methods
from app.web.headers import ALWAYS
from app.web.request_id import HEADER
from app.web.titles import title_of

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_LISTED: Final = 1000
RETRY_AFTER: Final = "2"

STATUS: Final[Mapping[type[errors.AppError], HTTPStatus]] = {
    errors.MalformedError: HTTPStatus.BAD_REQUEST,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.GoneError: HTTPStatus.GONE,
    errors.LateError: HTTPStatus.REQUEST_TIMEOUT,
    errors.TooLargeError: HTTPStatus(413),
    errors.LongUriError: HTTPStatus(414),
    errors.LargeHeadersError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedMediaError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RangeError: HTTPStatus(416),
    errors.InvalidError: HTTPStatus(422),
    errors.TooManyError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InsufficientStorageError: HTTPStatus.INSUFFICIENT_STORAGE,
}

_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": RETRY_AFTER},
}


class InputError(BaseModel):
    """One thing that is wrong with the input, and where."""

    model_config = ConfigDict(from_attributes=True)

    line: int | None = Field(default=None, description="Line of an upload, from 1.")
    column: int | None = Field(default=None, description="Column in that line, from 1.")
    pointer: str | None = Field(default=None, description="JSON pointer into the body.")
    fact_key: str | None = None
    code: str
    detail: str


class Problem(BaseModel):
    """Body of every error answer. Test `code`; show `detail`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no job job_0193",
                    "code": "job_not_found",
                    "request_id": "req_019ab3c4d5e67f8091a2b3c4d5e6f708",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    allowed_actions: list[str] | None = None
    quota: str | None = Field(
        default=None, description="The quota that is used up, as `GET /quota` names it."
    )
    errors: list[InputError] | None = None
    total_errors: int | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document a route's error answers: `responses=problems(404, 409)`."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": title_of(status), "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Register the handlers. Unexpected exceptions are logged and never described to the client."""
    app.add_exception_handler(errors.AppError, expected)
    app.add_exception_handler(StoreUnavailableError, of_store)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _by_the_framework)
    app.add_exception_handler(PoolTimeoutError, of_database)
    app.add_exception_handler(DBAPIError, of_database)
    app.add_exception_handler(Exception, _bug)


def status_of(error: errors.AppError) -> HTTPStatus:
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def answer_to(request: Request, error: errors.AppError) -> JSONResponse:
    """Return the problem document of an expected failure."""
    return _answer(request, status_of(error), error.code, str(error), error.headers(), error.members())


def problem_of(request: Request, error: errors.AppError) -> dict[str, Any]:
    """Return an expected failure as an object, for answers that have begun already."""
    status = status_of(error)
    problem = Problem(
        title=title_of(status),
        status=status,
        detail=str(error),
        code=error.code,
        request_id=request.state.request_id,
    )
    return problem.model_dump(mode="json", exclude_none=True)


def expected(request: Request, error: Exception) -> JSONResponse:
    """Answer an expected failure."""
    assert isinstance(error, errors.AppError)  # noqa: S101  as it was registered
    return answer_to(request, error)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as it was registered
    found = invalid.problems_of(error)
    detail = "; ".join(f"{p.pointer or 'request'}: {p.detail}" for p in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return _answer(request, HTTPStatus(422), "invalid_request", detail + more, members=errors.listed(found))


def _by_the_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  as it was registered
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed_methods(request)
    return _answer(request, status, status.name.lower(), error.detail, headers)


def of_database(request: Request, error: Exception) -> JSONResponse:
    """Tell a database that is full or away from a bug in a statement."""
    if _is_full(error):
        detail = "the database has no room left; nothing was stored"
        return _answer(request, HTTPStatus.INSUFFICIENT_STORAGE, "storage_full", detail)
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        log.warning("database.unavailable", path=request.url.path, error=type(error).__name__)
        detail = "the database does not answer; try again"
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", detail)
    return _bug(request, error)


def of_store(request: Request, error: Exception) -> JSONResponse:
    """Say that the store of adapters is away. Where it is, and what is wrong, is for the log alone."""
    log.warning("store.unavailable", path=request.url.path, error=str(error))
    detail = "the store of adapters does not answer; try again"
    return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, StoreUnavailableError.code, detail)


def _is_full(error: Exception) -> bool:
    cause = getattr(error, "orig", None)
    return (
        getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == "53100"
    )


def _bug(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", path=request.url.path, exc_info=error)
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "unexpected error")


def _answer(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    members: Mapping[str, Any] = MappingProxyType({}),
) -> JSONResponse:
    # A bug is answered outside of every middleware, so the headers are set here as well.
    every = {**ALWAYS, **_HEADERS.get(status, {}), **headers, HEADER: request.state.request_id}
    if openai_errors.is_asked(request.scope):
        body = openai_errors.body_of(status, code, detail, members)
        return JSONResponse(body, status_code=status, headers=every)
    shown = dict(members)
    if "errors" in shown:
        shown["errors"] = [InputError.model_validate(error) for error in shown["errors"][:MAX_LISTED]]
    problem = Problem(
        title=title_of(status),
        status=status,
        detail=detail,
        code=code,
        request_id=request.state.request_id,
        **shown,
    )
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        headers=every,
        media_type=MEDIA_TYPE,
    )
