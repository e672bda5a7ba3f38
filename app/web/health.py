"""Is it alive, can it work, which version is it."""

from importlib import metadata
from typing import ClassVar, Final, Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db.engine import Database
from app.errors import UnavailableError
from app.storage import ArtifactStore, StoreUnavailableError, free_bytes
from app.web.deps import DatabaseDep, SettingsDep, StoreDep
from app.web.problems import problems

log = structlog.get_logger(__name__)

NEEDED: Final = 100_000_000
"""Bytes that must be free for the service to take work."""

router = APIRouter(tags=["health"])


class NotReadyError(UnavailableError):
    code: ClassVar[str] = "not_ready"


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Version(BaseModel):
    version: str


@router.get("/healthz")
def healthz() -> Health:
    """Say that the process answers. Looks at nothing else."""
    return Health()


@router.get("/readyz", responses=problems(503))
def readyz(database: DatabaseDep, settings: SettingsDep, store: StoreDep) -> Health:
    """Say whether the service can take work: database and store answer, and there is room on the disk."""
    check_database(database)
    check_store(store)
    check_room(free_bytes(settings.data_dir))
    return Health()


@router.get("/version")
def version() -> Version:
    """Say which version runs."""
    return Version(version=metadata.version("mixsd"))


def check_database(database: Database) -> None:
    """Ask the database for a constant.

    Raises:
        NotReadyError: It does not answer.
    """
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise NotReadyError("the database does not answer") from error


def check_store(store: ArtifactStore) -> None:
    """See that the store of adapters can be used.

    Raises:
        NotReadyError: It cannot. What is wrong stands in the log.
    """
    try:
        store.check()
    except StoreUnavailableError as error:
        log.warning("store.unavailable", error=str(error))
        raise NotReadyError("the store of adapters does not do what it is asked: see the log") from error


def check_room(free: int) -> None:
    """Compare the room on the disk with what is needed.

    Raises:
        NotReadyError: There is too little.
    """
    if free < NEEDED:
        raise NotReadyError(f"the disk has {free} bytes left; {NEEDED} are needed")
