"""What is written down: a middleware notes requests of some operations, once each, as they are answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import Caller
from app.audit import service
from app.clock import Clock
from app.db.engine import Database

AUDITED: Final[Mapping[str, tuple[str, str]]] = {
    "create_project": ("POST", "/projects"),
    "update_project": ("PATCH", "/projects/{project_id}"),
    "delete_project": ("DELETE", "/projects/{project_id}"),
    "create_api_key": ("POST", "/api-keys"),
    "update_api_key": ("PATCH", "/api-keys/{key_id}"),
    "revoke_api_key": ("DELETE", "/api-keys/{key_id}"),
    "delete_fact_set": ("DELETE", "/fact-sets/{fact_set_id}"),
    "delete_job": ("DELETE", "/jobs/{job_id}"),
    "cancel_job": ("POST", "/jobs/{job_id}/cancel"),
    "release_adapter": ("POST", "/adapters/{adapter_id}/release"),
    "delete_adapter": ("DELETE", "/adapters/{adapter_id}"),
    "download_adapter": ("GET", "/adapters/{adapter_id}/download"),
    "get_adapter_file": ("GET", "/adapters/{adapter_id}/files/{path:path}"),
    "import_adapter": ("POST", "/adapters/import"),
    "delete_export": ("DELETE", "/adapters/{adapter_id}/exports/{export_id}"),
    "download_export": ("GET", "/adapters/{adapter_id}/exports/{export_id}/download"),
    "get_export_file": ("GET", "/adapters/{adapter_id}/exports/{export_id}/files/{path:path}"),
    "openai_delete_file": ("DELETE", "/openai/v1/files/{file_id}"),
    "openai_cancel_job": ("POST", "/openai/v1/fine_tuning/jobs/{job_id}/cancel"),
    "openai_delete_model": ("DELETE", "/openai/v1/models/{model}"),
    "create_webhook": ("POST", "/webhooks"),
    "update_webhook": ("PATCH", "/webhooks/{webhook_id}"),
    "delete_webhook": ("DELETE", "/webhooks/{webhook_id}"),
    "rotate_webhook_secret": ("POST", "/webhooks/{webhook_id}/rotate-secret"),
}
"""Operations by name: of keys, projects and who is told; what brings in, deletes, releases, downloads."""


@dataclass(frozen=True, slots=True)
class Found:
    action: str
    target: str | None


class AuditTrail:
    """Stands around `AccessControl`, which says who asks, so that what is refused for want of a scope is
    noted as well. A stranger, who shows no key that is known, is not: the log has those.

    The entry is written before the answer begins.
    """

    def __init__(self, app: ASGIApp, database: Database, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._clock = clock
        self._routes = [(name, method, compile_path(path)[0]) for name, (method, path) in AUDITED.items()]

    def _found(self, scope: Scope) -> Found | None:
        if scope["type"] != "http":
            return None
        path, root = str(scope["path"]), str(scope.get("root_path", ""))
        path = path[len(root) :] if root and path.startswith(f"{root}/") else path
        for action, method, pattern in self._routes:
            if method == scope["method"] and (match := pattern.match(path)):
                return Found(action, "/".join(match.groups()) or None)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        noted = False

        async def note(status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
            nonlocal noted
            caller: Caller | None = scope.get("state", {}).get("caller")
            if caller is not None and not noted:
                noted = True
                made = Headers(raw=list(headers)).get("location", "").rpartition("/")[2]
                await run_in_threadpool(self._write, scope, caller, found, made or None, status)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                await note(int(message["status"]), message.get("headers", ()))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            await note(500)
            raise

    def _write(self, scope: Scope, caller: Caller, found: Found, made: str | None, status: int) -> None:
        client: Any = scope.get("client")
        service.write(
            self._database,
            now=self._clock(),
            caller=caller,
            action=found.action,
            target=found.target or made,
            status=status,
            address=client[0] if client else None,
            request_id=scope["state"]["request_id"],
        )
