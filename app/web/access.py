"""The door: who is let in, to do what, and how often. It stands before routes and bodies.

Whatever is not named in `OPEN` needs a key, so a new route is shut until it is opened here.
"""

import ipaddress
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import access
from app.access import Caller, Doorkeeper, InvalidKeyError, KeyNeededError, MissingScopeError
from app.errors import AppError, ForbiddenError, UnauthenticatedError
from app.settings import MetricsAccess
from app.web import problems
from app.web.headers import DOCS_PATHS
from app.web.limits import check_host
from app.web.paths import path_of
from app.web.rates import RateLimiter, Window

OPEN: Final = frozenset({"/healthz", "/readyz", "/version", "/openapi.json", *DOCS_PATHS})
"""Answered without a key, and as often as anybody likes."""

METRICS_PATH: Final = "/metrics"

_ADMIN: Final = frozenset({"projects", "api-keys", "audit", "metrics"})
"""First parts of paths behind which only administrators work."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_READING: Final = frozenset({"/fact-sets/validate", "/jobs/estimate", "/models/check"})
"""POST requests that change nothing."""


class CrossSiteError(ForbiddenError):
    """Where no key is asked for, nothing else tells the page of a stranger from its reader."""

    code: ClassVar[str] = "cross_site"

    def __init__(self) -> None:
        super().__init__("a page of another site may not change anything here: without keys its reader would")


def scope_of(method: str, path: str) -> access.Scope | None:
    """Return what a request needs; None if it needs no key at all."""
    if path in OPEN:
        return None
    if path.lstrip("/").partition("/")[0] in _ADMIN:
        return access.Scope.ADMIN
    if method in {"GET", "HEAD"} or path in _READING:
        return access.Scope.READ
    return access.Scope.WRITE


class AccessControl:
    """Puts the caller on `request.state.caller`, or answers in place of the application."""

    def __init__(
        self,
        app: ASGIApp,
        doorkeeper: Doorkeeper,
        limiter: RateLimiter,
        metrics: MetricsAccess = MetricsAccess.KEY,
        hosts_without_key: Sequence[str] = (),
    ) -> None:
        """Stand before `app`. Who needs no key must ask for one of `hosts_without_key`, if there are any."""
        self._app = app
        self._doorkeeper = doorkeeper
        self._limiter = limiter
        self._metrics = metrics
        self._hosts_without_key = hosts_without_key

    def _needed(self, scope: Scope) -> access.Scope | None:
        if scope["type"] != "http":
            return None
        path = path_of(scope)
        if path == METRICS_PATH and scope["method"] == "GET" and self._may_scrape(scope):
            return None
        return scope_of(scope["method"], path)

    def _may_scrape(self, scope: Scope) -> bool:
        """Say whether this client may read the metrics without a key."""
        if self._metrics is MetricsAccess.LOOPBACK:
            return bool(scope.get("client")) and is_loopback(scope["client"][0])
        return self._metrics is MetricsAccess.OPEN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        needed = self._needed(scope)
        if needed is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller, window = await self._admit(request)
            request.state.caller = caller
            caller.require(needed)
            if caller.key_id is None:
                self._refuse_strange_pages(scope)
        except AppError as error:
            refusal = problems.expected(request, error)
            refusal.headers.update(_challenge(error))
            await refusal(scope, receive, send)
            return
        except SQLAlchemyError as error:
            await problems.of_database(request, error)(scope, receive, send)
            return
        await self._pass_on(caller, window, scope, receive, send)

    def _refuse_strange_pages(self, scope: Scope) -> None:
        """Keep pages of other sites from acting for whoever looks at them, by name or from afar.

        Raises:
            BadHostError: The name that leads here is none of ours.
            CrossSiteError: The browser says that another site asks.
        """
        if self._hosts_without_key:
            check_host(scope, self._hosts_without_key)
        if scope["method"] not in _SAFE and (b"sec-fetch-site", b"cross-site") in scope["headers"]:
            raise CrossSiteError

    async def _pass_on(
        self, caller: Caller, window: Window | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = window.headers() if window is not None else {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        with structlog.contextvars.bound_contextvars(project_id=caller.project_id, key_id=caller.key_id):
            await self._app(scope, receive, send_with_headers)
        if self._doorkeeper.is_due(caller):
            await run_in_threadpool(self._doorkeeper.note_use, caller)

    async def _admit(self, request: Request) -> tuple[Caller, Window | None]:
        """Find out who asks, without a thread where nothing has to be waited for."""
        address = request.client.host if request.client else "nowhere"
        with self._strangers_counted(address):
            shown, is_local = _secret_of(request), is_loopback(address)
        if self._limiter.waits:
            return await run_in_threadpool(self._look_up, shown, address, is_local=is_local)
        with self._strangers_counted(address):
            caller = self._doorkeeper.known(shown, is_local=is_local)
        if caller is None:
            return await run_in_threadpool(self._look_up, shown, address, is_local=is_local)
        return caller, self._count(caller, address)

    def _look_up(self, shown: str | None, address: str, *, is_local: bool) -> tuple[Caller, Window | None]:
        with self._strangers_counted(address):
            caller = self._doorkeeper.admit(shown, is_local=is_local)
        return caller, self._count(caller, address)

    def _count(self, caller: Caller, address: str) -> Window | None:
        return self._limiter.hit(f"key/{caller.key_id}" if caller.key_id else f"address/{address}")

    @contextmanager
    def _strangers_counted(self, address: str) -> Generator[None]:
        """Let nobody try keys without end."""
        try:
            yield
        except UnauthenticatedError:
            self._limiter.hit(f"address/{address}")
            raise


class Admission:
    """What let a request in, for those whose answer takes long: they ask again whether it still holds."""

    def __init__(self, request: Request, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper
        self._caller: Caller = request.state.caller
        self._needed = scope_of(request.method, path_of(request.scope))
        self._shown = _secret_of(request)
        self._is_local = is_loopback(request.client.host if request.client else "nowhere")

    async def holds(self) -> bool:
        """Say whether the request would be let in now. While the database is away nobody is turned out."""
        shown, is_local = self._shown, self._is_local
        try:
            caller = self._doorkeeper.known(shown, is_local=is_local)
            if caller is None:
                caller = await run_in_threadpool(self._doorkeeper.admit, shown, is_local=is_local)
            if self._needed is not None:
                caller.require(self._needed)
        except AppError:
            return False
        except SQLAlchemyError:
            return True
        return caller.project_id == self._caller.project_id


def is_loopback(address: str) -> bool:
    """Say whether an address is of the machine itself. Names are not looked up.

    Example:
        >>> [is_loopback(a) for a in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "localhost")]
        [True, True, True, False, False]
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _secret_of(request: Request) -> str | None:
    shown = request.headers.getlist("authorization")
    if len(shown) > 1:
        raise InvalidKeyError
    scheme, _, secret = "".join(shown).partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def _challenge(error: AppError) -> Mapping[str, str]:
    """Say what kind of key is wanted, as RFC 6750 has it."""
    match error:
        case KeyNeededError():
            said = ""
        case UnauthenticatedError():
            said = ', error="invalid_token"'
        case MissingScopeError(scope=scope):
            said = f', error="insufficient_scope", scope="{scope}"'
        case _:
            return {}
    return {"WWW-Authenticate": f'Bearer realm="mixsd"{said}'}
