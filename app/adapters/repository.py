"""Rows of `adapters` and `adapter_files`."""

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.adapters.errors import AdapterFileNotFoundError, AdapterNotFoundError
from app.adapters.models import Adapter, AdapterFile, AdapterStatus
from app.db.lists import Cut, cut_by
from app.ids import AdapterId, JobId, ProjectId


def get_adapter(session: Session, adapter_id: str, *, project_id: ProjectId, lock: bool = False) -> Adapter:
    """Return one of the project's adapters.

    Raises:
        AdapterNotFoundError: The project has none of that id, or it was deleted.
    """
    statement = select(Adapter).where(
        Adapter.id == adapter_id, Adapter.project_id == project_id, Adapter.status != AdapterStatus.DELETED
    )
    adapter = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if adapter is None:
        raise AdapterNotFoundError(adapter_id)
    return adapter


def list_adapters(
    session: Session, cut: Cut[str], *, project_id: ProjectId, job_id: str | None = None
) -> Sequence[Adapter]:
    statement = select(Adapter).where(
        Adapter.project_id == project_id, Adapter.status != AdapterStatus.DELETED
    )
    if job_id is not None:
        statement = statement.where(Adapter.job_id == job_id)
    return session.scalars(cut_by(statement, Adapter.id, cut)).all()


def ids_by_job(session: Session, job_ids: Sequence[JobId]) -> Mapping[JobId, AdapterId]:
    """Return the first adapter of each of these jobs that has one."""
    statement = select(Adapter.job_id, Adapter.id).where(
        Adapter.job_id.in_(job_ids), Adapter.status != AdapterStatus.DELETED
    )
    rows = session.execute(statement.order_by(Adapter.variant.desc())).all()
    return {job_id: adapter_id for job_id, adapter_id in rows if job_id is not None}


def of_job(session: Session, job_id: JobId) -> Adapter | None:
    """Return a job's first adapter, also after its deletion: what was measured stays true."""
    statement = select(Adapter).where(Adapter.job_id == job_id).order_by(Adapter.variant)
    return session.scalars(statement.limit(1)).one_or_none()


def files_of(session: Session, adapter_id: AdapterId) -> Sequence[AdapterFile]:
    """Return the adapter's files, by path."""
    statement = select(AdapterFile).where(AdapterFile.adapter_id == adapter_id)
    return sorted(session.scalars(statement).all(), key=lambda file: file.path)


def get_file(session: Session, adapter_id: AdapterId, path: str) -> AdapterFile:
    """Look a path up among the adapter's files.

    Raises:
        AdapterFileNotFoundError: It is none of them.
    """
    statement = select(AdapterFile).where(AdapterFile.adapter_id == adapter_id, AdapterFile.path == path)
    file = session.scalars(statement).one_or_none()
    if file is None:
        raise AdapterFileNotFoundError(adapter_id)
    return file


def delete_files(session: Session, adapter_id: AdapterId) -> None:
    session.execute(delete(AdapterFile).where(AdapterFile.adapter_id == adapter_id))
