"""Rows of `uploaded_files`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.adapters.models import Blob
from app.db.lists import Cut, cut_by
from app.files.errors import UploadedFileNotFoundError
from app.files.models import FileStatus, UploadedFile
from app.ids import FactSetId, FileId, ProjectId, new_id
from app.storage import StoredBlob


def add_file(
    session: Session,
    blob: StoredBlob,
    *,
    project_id: ProjectId,
    fact_set_id: FactSetId,
    name: str,
    now: datetime,
) -> UploadedFile:
    """Note a file whose content is in the artifact store, and the fact set that was made from it."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    stored = dialect.insert(Blob).values(sha256=blob.sha256, bytes=blob.bytes, created_at=now)
    session.execute(stored.on_conflict_do_nothing(index_elements=[Blob.sha256]))
    file = UploadedFile(
        id=FileId(new_id("file", now=now)),
        project_id=project_id,
        fact_set_id=fact_set_id,
        status=FileStatus.READY,
        name=name,
        bytes=blob.bytes,
        sha256=blob.sha256,
        created_at=now,
    )
    session.add(file)
    session.flush()
    return file


def get_file(session: Session, file_id: str, *, project_id: ProjectId) -> UploadedFile:
    """Return one of the project's files.

    Raises:
        UploadedFileNotFoundError: The project has none of that id, or it was deleted.
    """
    statement = select(UploadedFile).where(
        UploadedFile.id == file_id,
        UploadedFile.project_id == project_id,
        UploadedFile.status == FileStatus.READY,
    )
    file = session.scalars(statement).one_or_none()
    if file is None:
        raise UploadedFileNotFoundError(file_id)
    return file


def list_files(session: Session, cut: Cut[str], *, project_id: ProjectId) -> Sequence[UploadedFile]:
    statement = select(UploadedFile).where(
        UploadedFile.project_id == project_id, UploadedFile.status == FileStatus.READY
    )
    return session.scalars(cut_by(statement, UploadedFile.id, cut)).all()


def delete_file(session: Session, file_id: str, *, project_id: ProjectId) -> FactSetId:
    """Forget a file's content. Returns the fact set that was made from it.

    Raises:
        UploadedFileNotFoundError: The project has none of that id, or it was deleted.
    """
    statement = (
        update(UploadedFile)
        .where(
            UploadedFile.id == file_id,
            UploadedFile.project_id == project_id,
            UploadedFile.status == FileStatus.READY,
        )
        .values(status=FileStatus.DELETED, sha256=None)
        .returning(UploadedFile.fact_set_id)
        .execution_options(synchronize_session=False)
    )
    fact_set_id = session.scalars(statement).one_or_none()
    if fact_set_id is None:
        raise UploadedFileNotFoundError(file_id)
    return fact_set_id


def of_fact_sets(session: Session, fact_set_ids: Sequence[FactSetId]) -> Mapping[FactSetId, FileId]:
    """Return which of these sets were made from a file, and from which, also if it was deleted."""
    statement = select(UploadedFile.fact_set_id, UploadedFile.id).where(
        UploadedFile.fact_set_id.in_(fact_set_ids)
    )
    return {row.fact_set_id: row.id for row in session.execute(statement)}


def stored_bytes(session: Session, project_id: ProjectId) -> int:
    """Return the size of all files of the project."""
    statement = select(func.coalesce(func.sum(UploadedFile.bytes), 0)).where(
        UploadedFile.project_id == project_id, UploadedFile.status == FileStatus.READY
    )
    return int(session.scalars(statement).one())
