"""Rows of `adapters` and `adapter_files`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.adapters.errors import (
    AdapterFileNotFoundError,
    AdapterNotFoundError,
    AdapterNotQuarantinedError,
)
from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.db.lists import Cut, cut_by
from app.ids import AdapterId, JobId, ProjectId
from app.storage import StoredBlob


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


def stored_bytes(session: Session, project_id: ProjectId) -> int:
    """Return the size of all adapters of the project."""
    statement = select(func.coalesce(func.sum(Adapter.bytes), 0)).where(
        Adapter.project_id == project_id, Adapter.status != AdapterStatus.DELETED
    )
    return int(session.scalars(statement).one())


@dataclass(frozen=True, slots=True)
class Made:
    """An adapter of a job, in short."""

    id: AdapterId
    variant: int
    status: AdapterStatus
    recommended: bool


def by_job(session: Session, job_ids: Sequence[JobId]) -> Mapping[JobId, Sequence[Made]]:
    """Return the adapters of each of these jobs, but for those that were deleted."""
    found: dict[JobId, list[Made]] = {job_id: [] for job_id in job_ids}
    statement = select(
        Adapter.job_id, Adapter.id, Adapter.variant, Adapter.status, Adapter.recommended
    ).where(Adapter.job_id.in_(job_ids), Adapter.status != AdapterStatus.DELETED)
    for job_id, adapter_id, variant, status, recommended in session.execute(
        statement.order_by(Adapter.variant)
    ).all():
        if job_id is not None:
            found[job_id].append(Made(adapter_id, variant, status, recommended))
    return found


def of_job(session: Session, job_id: JobId, variant: int | None = None) -> Adapter | None:
    """Return the adapter of a job's variant, or the recommended one, also after its deletion."""
    for adapter in all_of_job(session, job_id):
        if adapter.recommended if variant is None else adapter.variant == variant:
            return adapter
    return None


def all_of_job(session: Session, job_id: JobId) -> Sequence[Adapter]:
    """Return a job's adapters by variant, also those that were deleted: what was measured stays true."""
    statement = select(Adapter).where(Adapter.job_id == job_id)
    return session.scalars(statement.order_by(Adapter.variant)).all()


def children_of(session: Session, adapter_id: AdapterId) -> Sequence[AdapterId]:
    """Return the adapters that were trained from this one, but for those that were deleted."""
    statement = select(Adapter.id).where(
        Adapter.parent_adapter_id == adapter_id, Adapter.status != AdapterStatus.DELETED
    )
    return session.scalars(statement.order_by(Adapter.id)).all()


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


def release(
    session: Session, adapter_id: str, *, project_id: ProjectId, reason: str | None, now: datetime
) -> tuple[Adapter, bool]:
    """Let a quarantined adapter go. Returns it, and whether this changed anything.

    One that was released before stays as it is, with its first reason.

    Raises:
        AdapterNotFoundError: The project has none of that id, or it was deleted.
        AdapterNotQuarantinedError: It was never held back.
    """
    statement = (
        update(Adapter)
        .where(
            Adapter.id == adapter_id,
            Adapter.project_id == project_id,
            Adapter.status == AdapterStatus.QUARANTINED,
        )
        .values(status=AdapterStatus.READY, released_at=now, release_reason=reason)
        .returning(Adapter)
        .execution_options(populate_existing=True)
    )
    released = session.scalars(statement).one_or_none()
    if released is not None:
        return released, True
    adapter = get_adapter(session, adapter_id, project_id=project_id)
    if adapter.released_at is None:
        raise AdapterNotQuarantinedError(adapter.id)
    return adapter, False


def add_adapter(
    session: Session, adapter: Adapter, files: Mapping[str, StoredBlob], *, now: datetime
) -> None:
    """Insert an adapter with its files, which lie in the store already."""
    session.add(adapter)
    session.flush()
    blobs = {
        file.sha256: {"sha256": file.sha256, "bytes": file.bytes, "created_at": now}
        for file in files.values()
    }
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(Blob).values(list(blobs.values()))
    session.execute(statement.on_conflict_do_nothing(index_elements=[Blob.sha256]))
    session.add_all(
        AdapterFile(adapter_id=adapter.id, path=path, sha256=file.sha256, bytes=file.bytes)
        for path, file in files.items()
    )
    session.flush()


def delete_files(session: Session, adapter_id: AdapterId) -> None:
    session.execute(delete(AdapterFile).where(AdapterFile.adapter_id == adapter_id))
