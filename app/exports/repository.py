"""Rows of `exports` and `export_files`. Workers write them with the end of their job."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.exports.errors import ExportFileNotFoundError, ExportNotFoundError
from app.exports.models import Export, ExportFile
from app.ids import AdapterId, ExportId, ProjectId


def get_export(session: Session, export_id: str, *, adapter_id: AdapterId) -> Export:
    """Return one of an adapter's exports.

    Raises:
        ExportNotFoundError: The adapter has no such export, though another one may.
    """
    statement = select(Export).where(Export.id == export_id, Export.adapter_id == adapter_id)
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise ExportNotFoundError(adapter_id, export_id)
    return found


def list_exports(
    session: Session, cut: Cut[str], *, adapter_id: AdapterId, job_id: str | None = None
) -> Sequence[Export]:
    """Return an adapter's exports, by age."""
    statement = select(Export).where(Export.adapter_id == adapter_id)
    if job_id is not None:
        statement = statement.where(Export.job_id == job_id)
    return session.scalars(cut_by(statement, Export.id, cut)).all()


def files_of(session: Session, export_id: ExportId) -> Sequence[ExportFile]:
    """Return the export's files, by path."""
    statement = select(ExportFile).where(ExportFile.export_id == export_id)
    return sorted(session.scalars(statement).all(), key=lambda file: file.path)


def get_file(session: Session, export_id: ExportId, path: str) -> ExportFile:
    """Look a path up among the export's files.

    Raises:
        ExportFileNotFoundError: It is none of them.
    """
    statement = select(ExportFile).where(ExportFile.export_id == export_id, ExportFile.path == path)
    file = session.scalars(statement).one_or_none()
    if file is None:
        raise ExportFileNotFoundError(export_id)
    return file


def stored_bytes(session: Session, project_id: ProjectId) -> int:
    """Return the size of all exports of the project."""
    statement = select(func.coalesce(func.sum(Export.bytes), 0)).where(Export.project_id == project_id)
    return int(session.scalars(statement).one())


def delete_export(session: Session, export_id: ExportId) -> None:
    """Delete an export. Its blobs stay until they are collected: others may share them."""
    session.execute(delete(ExportFile).where(ExportFile.export_id == export_id))
    session.execute(delete(Export).where(Export.id == export_id))


def delete_all_of(session: Session, adapter_id: AdapterId) -> None:
    """Delete the exports of an adapter that is deleted itself."""
    own = select(Export.id).where(Export.adapter_id == adapter_id)
    session.execute(delete(ExportFile).where(ExportFile.export_id.in_(own)))
    session.execute(delete(Export).where(Export.adapter_id == adapter_id))
