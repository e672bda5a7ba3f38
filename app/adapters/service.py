"""Use cases on adapters. One function is one use case and one transaction."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from sqlalchemy.orm import Session

from app.adapters import archives, repository
from app.adapters.errors import AdapterQuarantinedError
from app.adapters.models import Adapter, AdapterFile, AdapterStatus
from app.adapters.schemas import Format
from app.db.engine import Database
from app.db.lists import Cut
from app.ids import AdapterId, JobId, ProjectId
from app.storage import ArtifactStore

log = structlog.get_logger(__name__)

CARD: Final = "README.md"
MANIFEST: Final = "manifest.json"
"""Files that say what an adapter is. They can be read while it is held back: its weights cannot."""


@dataclass(frozen=True, slots=True)
class Download:
    """Content to send. `sha256` names it; `length` is None where only sending it tells.

    `part` reads a part of it, where that can be done without making the rest. `link` returns an address
    at the store, given disposition and media type, if it has one.
    """

    name: str
    sha256: str
    length: int | None
    content: Iterator[bytes]
    part: Callable[[range], Iterator[bytes]] | None = None
    link: Callable[[str, str], str | None] | None = None


def get_adapter(database: Database, *, project_id: ProjectId, adapter_id: AdapterId) -> Adapter:
    with database.read() as session:
        return repository.get_adapter(session, adapter_id, project_id=project_id)


def list_adapters(
    database: Database, cut: Cut[str], *, project_id: ProjectId, job_id: JobId | None
) -> Sequence[Adapter]:
    with database.read() as session:
        return repository.list_adapters(session, cut, project_id=project_id, job_id=job_id)


def list_files(database: Database, *, project_id: ProjectId, adapter_id: AdapterId) -> Sequence[AdapterFile]:
    with database.read() as session:
        adapter = repository.get_adapter(session, adapter_id, project_id=project_id)
        return repository.files_of(session, adapter.id)


def download_file(
    database: Database, store: ArtifactStore, *, project_id: ProjectId, adapter_id: AdapterId, path: str
) -> Download:
    """Return one file of an adapter.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterQuarantinedError: Its files are held back.
        AdapterFileNotFoundError: It has no file of that path.
    """
    with database.read() as session:
        adapter = _open_adapter(session, project_id=project_id, adapter_id=adapter_id)
        file = repository.get_file(session, adapter.id, path)
    return _one_file(store, file)


def read_about(
    database: Database, store: ArtifactStore, *, project_id: ProjectId, adapter_id: AdapterId, path: str
) -> Download:
    """Return `CARD` or `MANIFEST` of an adapter, which are not held back with the others.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterFileNotFoundError: It came without that file.
    """
    with database.read() as session:
        adapter = repository.get_adapter(session, adapter_id, project_id=project_id)
        file = repository.get_file(session, adapter.id, path)
    return _one_file(store, file)


def download_adapter(
    database: Database, store: ArtifactStore, *, project_id: ProjectId, adapter_id: AdapterId, form: Format
) -> Download:
    """Return all files of an adapter as one archive.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterQuarantinedError: Its files are held back.
    """
    with database.read() as session:
        adapter = _open_adapter(session, project_id=project_id, adapter_id=adapter_id)
        files = repository.files_of(session, adapter.id)
    archives.check_stored(store, files)
    return Download(
        f"{adapter.id}.{form}", f"{adapter.sha256}-{form}", None, archives.pack(store, files, form)
    )


def _one_file(store: ArtifactStore, file: AdapterFile) -> Download:
    archives.check_stored(store, [file])
    name = file.path.rpartition("/")[2]
    content, part = archives.chunks(store, file.sha256), partial(archives.part, store, file.sha256)

    def link(disposition: str, media_type: str) -> str | None:
        return store.link(file.sha256, disposition=disposition, media_type=media_type)

    return Download(name, file.sha256, file.bytes, content, part, link)


def _open_adapter(session: Session, *, project_id: ProjectId, adapter_id: AdapterId) -> Adapter:
    adapter = repository.get_adapter(session, adapter_id, project_id=project_id)
    refuse_held_back(adapter)
    return adapter


def refuse_held_back(adapter: Adapter) -> None:
    """Do nothing with an adapter whose files may be fetched.

    Raises:
        AdapterQuarantinedError: They are held back.
    """
    if adapter.status is AdapterStatus.QUARANTINED:
        raise AdapterQuarantinedError(adapter.id)
