"""Clients that show a key."""

from collections.abc import Sequence
from datetime import datetime

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.access import Scope
from app.clock import utc_now
from app.db.engine import Database
from app.projects import service
from app.projects.schemas import ApiKeyCreated

EVERYTHING = tuple(Scope)


def a_key(
    database: Database,
    project: str = "default",
    scopes: Sequence[Scope] = EVERYTHING,
    expires_at: datetime | None = None,
) -> ApiKeyCreated:
    """A stored key of the project of that name, which is made if it is new."""
    return service.create_key_for(
        database, utc_now, project_name=project, name="test", scopes=scopes, expires_at=expires_at
    )


def a_client(api: FastAPI, secret: str | None = None, *, address: str = "10.0.0.1") -> TestClient:
    """A client at that address, which shows `secret` with every request."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return TestClient(
        api,
        "http://localhost",  # what the service's own machine calls it
        raise_server_exceptions=False,
        headers=headers,
        client=(address, 50000),
    )
