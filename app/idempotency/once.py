"""Idempotency-Key: a request that is sent again is carried out once, and answered as before.

What a request does, and the answer to it, are one transaction. So whatever dies, and whenever, a
key either was never used, or it is answered as the first time: there is no state in between that
would have to time out. A key is taken only while a transaction is open.
"""

import functools
import hashlib
import inspect
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.one_transaction import OneTransaction
from app.errors import AppError
from app.idempotency import repository
from app.idempotency.errors import InProgressError, KeyReusedError
from app.idempotency.models import StoredAnswer
from app.ids import ProjectId
from app.web import answering, problems
from app.web.body_digest import KEY, body_sha256
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep

REPLAYED: Final = "Idempotency-Replayed"

_PASSING: Final = frozenset({401, 403, 409, 429})
"""Refusals that say something about the moment: they are not kept."""

KeyHeader = Annotated[
    str | None,
    Header(
        alias=KEY,
        min_length=1,
        max_length=255,
        pattern="^[ -~]*$",
        description="Printable ASCII, yours: a new one for everything that you want done. A request that "
        f"comes again with its key is not carried out again but answered as before, with `{REPLAYED}: true`.",
    ),
]


class InFlight:
    """The keys of requests that this process is carrying out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[ProjectId, str]] = set()

    @contextmanager
    def hold(self, project_id: ProjectId, key: str) -> Generator[None]:
        """Let nobody else in with the key.

        Raises:
            InProgressError: Somebody is.
        """
        with self._lock:
            if (project_id, key) in self._keys:
                raise InProgressError
            self._keys.add((project_id, key))
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard((project_id, key))


class _AnsweredError(Exception):
    """The key was answered while we came to take it."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__()
        self.answer = answer


class Once:
    """Carries a request out, if it was not before."""

    def __init__(
        self,
        request: Request,
        project_id: ProjectId,
        database: Database,
        *,
        key: str | None,
        kept_for: timedelta,
    ) -> None:
        self._request = request
        self._project_id = project_id
        self._database = database
        self._key = key
        self._kept_for = kept_for
        self._taken_at: datetime

    def carry_out(
        self, endpoint: Callable[..., BaseModel], values: Mapping[str, Any]
    ) -> BaseModel | Response:
        """Call the endpoint of the route, or give the answer that it gave before.

        Raises:
            KeyReusedError: The key came with another request.
            InProgressError: The first request with the key is not answered yet.
            AppError: As the endpoint says.
        """
        if self._key is None:
            return self._shown(endpoint(**values), values)
        in_flight: InFlight = self._request.app.state.in_flight
        with in_flight.hold(self._project_id, self._key):
            with self._database.glance() as session:
                answer = repository.find(session, self._project_id, self._key, now=self._database.moment())
            if answer is not None:
                return self._again(answer)
            try:
                return self._first(endpoint, values, self._key)
            except _AnsweredError as answered:
                return self._again(answered.answer)

    def _first(self, endpoint: Callable[..., BaseModel], values: Mapping[str, Any], key: str) -> Response:
        with OneTransaction(self._database, lambda session: self._take(session, key)) as database:
            given = {
                name: database if isinstance(value, Database) else value for name, value in values.items()
            }
            try:
                response = self._shown(endpoint(**given), values)
            except AppError as error:
                status = problems.status_of(error)
                if status >= 500 or status in _PASSING:  # the server's fault
                    raise
                response = problems.answer_to(self._request, error)
            session = database.session()
            self._keep(session, response, key, now=self._taken_at)
        return response

    def _take(self, session: Session, key: str) -> None:
        now = repository.take(session, self._project_id, key, moment=self._database.moment())
        if now is None:
            raise InProgressError
        self._taken_at = now
        answer = repository.find(session, self._project_id, key, now=now)
        if answer is not None:
            session.expunge(answer)  # the transaction is rolled back, and it would be with it
            raise _AnsweredError(answer)

    def _shown(self, result: BaseModel, values: Mapping[str, Any]) -> Response:
        """Return what FastAPI would make of the endpoint's result."""
        response = answering.as_json(result, self._request.scope["route"].status_code or 200)
        for value in values.values():
            if isinstance(value, Response):  # on which the endpoint sets headers
                response.headers.raw.extend(value.headers.raw)
        return response

    def _keep(self, session: Session, response: Response, key: str, *, now: datetime) -> None:
        answer = StoredAnswer(
            project_id=self._project_id,
            key=key,
            request_sha256=self._sha256(),
            status_code=response.status_code,
            location=response.headers.get("location"),
            media_type=cast(str, response.media_type),
            body=bytes(response.body).decode(),
            created_at=now,
            expires_at=now + self._kept_for,
        )
        repository.put(session, answer)

    def _again(self, answer: StoredAnswer) -> Response:
        if answer.request_sha256 != self._sha256():
            raise KeyReusedError
        headers = {REPLAYED: "true"} | ({"Location": answer.location} if answer.location else {})
        return Response(answer.body, answer.status_code, headers, answer.media_type)

    def _sha256(self) -> str:
        """Return a digest of all that makes a request another one."""
        request = self._request
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        said = (request.method, request.url.path, request.url.query, kind, body_sha256(request.scope))
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


async def _once_for(
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    key: KeyHeader = None,
) -> Once:
    return Once(request, project_id, database, key=key, kept_for=settings.idempotency)


def once(endpoint: Callable[..., BaseModel]) -> Callable[..., BaseModel | Response]:
    """Let a route take an Idempotency-Key: `@router.post(...)` over `@once` over the function.

    Everything that the function writes goes through its argument `database`.
    """
    signature = inspect.signature(endpoint)
    own = inspect.Parameter(
        "_once", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Once, Depends(_once_for)]
    )

    @functools.wraps(endpoint)
    def answer(*, _once: Once, **values: Any) -> BaseModel | Response:
        return _once.carry_out(endpoint, values)

    answer.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), own]
    )
    return answer
