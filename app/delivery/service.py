"""Use cases on the exports of an adapter. One function is one use case and one transaction."""

from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app.adapters import archives
from app.adapters import repository as adapters
from app.adapters.schemas import Format
from app.adapters.service import Download, refuse_held_back
from app.db.engine import Database
from app.db.lists import Cut
from app.exports import repository
from app.exports.errors import ExportUnusableError
from app.exports.models import Export, ExportFile, ExportStatus
from app.ids import AdapterId, ExportId, ProjectId
from app.storage import ArtifactStore

log = structlog.get_logger(__name__)

FOLDER = "export"
"""The archive of an export unpacks into this folder."""


def list_exports(
    database: Database, cut: Cut[str], *, project_id: ProjectId, adapter_id: AdapterId, job_id: str | None
) -> Sequence[Export]:
    with database.read() as session:
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
        return repository.list_exports(session, cut, adapter_id=adapter.id, job_id=job_id)


def get_export(
    database: Database, *, project_id: ProjectId, adapter_id: AdapterId, export_id: ExportId
) -> Export:
    with database.read() as session:
        return _export(session, project_id, adapter_id, export_id)


def list_files(
    database: Database, *, project_id: ProjectId, adapter_id: AdapterId, export_id: ExportId
) -> Sequence[ExportFile]:
    with database.read() as session:
        return repository.files_of(session, _export(session, project_id, adapter_id, export_id).id)


def delete_export(
    database: Database, *, project_id: ProjectId, adapter_id: AdapterId, export_id: ExportId
) -> None:
    """Delete an export. Its adapter stays.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        ExportNotFoundError: The adapter has no such export.
    """
    with database.begin() as session:
        export = _export(session, project_id, adapter_id, export_id)
        repository.delete_export(session, export.id)
    log.info("export.deleted", export_id=export_id)


def download_export(
    database: Database,
    store: ArtifactStore,
    *,
    project_id: ProjectId,
    adapter_id: AdapterId,
    export_id: ExportId,
    form: Format,
    unusable: bool,
) -> Download:
    """Return all files of an export as one archive.

    Args:
        unusable: Whether one whose parity failed is sent.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterQuarantinedError: Its files are held back.
        ExportNotFoundError: The adapter has no such export.
        ExportUnusableError: Its parity failed.
    """
    with database.read() as session:
        export = _open_export(session, project_id, adapter_id, export_id, unusable=unusable)
        files = repository.files_of(session, export.id)
    archives.check_stored(store, files)
    content = archives.pack(store, files, form, folder=FOLDER)
    return Download(f"{export.id}.{form}", f"{export.sha256}-{form}", None, content)


def download_file(
    database: Database,
    store: ArtifactStore,
    *,
    project_id: ProjectId,
    adapter_id: AdapterId,
    export_id: ExportId,
    path: str,
    unusable: bool,
) -> Download:
    """Return one file of an export; see `download_export`.

    Raises:
        ExportFileNotFoundError: It has no file of that path.
    """
    with database.read() as session:
        export = _open_export(session, project_id, adapter_id, export_id, unusable=unusable)
        file = repository.get_file(session, export.id, path)
    archives.check_stored(store, [file])
    content, part = archives.chunks(store, file.sha256), partial(archives.part, store, file.sha256)
    return Download(file.path.rpartition("/")[2], file.sha256, file.bytes, content, part)


def _export(session: Session, project_id: ProjectId, adapter_id: str, export_id: str) -> Export:
    adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
    return repository.get_export(session, export_id, adapter_id=adapter.id)


def _open_export(
    session: Session, project_id: ProjectId, adapter_id: str, export_id: str, *, unusable: bool
) -> Export:
    adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
    refuse_held_back(adapter)
    export = repository.get_export(session, export_id, adapter_id=adapter.id)
    if export.status is ExportStatus.UNUSABLE and not unusable:
        raise ExportUnusableError(export.id)
    return export
