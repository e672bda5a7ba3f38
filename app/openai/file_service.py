"""Use cases on uploaded files. One function is one use case."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

import structlog

from app.adapters.archives import chunks
from app.adapters.service import Download
from app.db.engine import Database
from app.db.lists import Cut
from app.fact_sets import reading
from app.fact_sets import repository as fact_sets
from app.fact_sets.errors import FactSetNotFoundError
from app.files import repository
from app.ids import FileId, ProjectId
from app.jobs import quotas
from app.openai.file_schemas import OpenAIFile
from app.projects import quotas as project_quotas
from app.projects.quotas import Quotas
from app.storage import ArtifactStore, or_full

log = structlog.get_logger(__name__)


def create_file(
    database: Database,
    store: ArtifactStore,
    *,
    project_id: ProjectId,
    file: BinaryIO,
    name: str,
    max_facts: int,
    defaults: Quotas,
) -> OpenAIFile:
    """Store a file of conversations as it came, and the facts that it holds, all of it or nothing.

    Raises:
        InvalidFactsError: A line of it cannot be used.
        TooManyFactsError: There are more than `max_facts`.
        QuotaExceededError: The project has no room for it.
        StorageFullError: The disk has none.
    """
    size = file.seek(0, os.SEEK_END)
    _check_room(database, project_id, defaults, size)  # before anything is put down
    with or_full(size), reading.read_conversations(file, max_facts=max_facts) as upload:
        blob = store.put_file(file)
        with database.begin() as session:
            limits = project_quotas.of_project(session, project_id, defaults)
            quotas.check_may_store(session, project_id, limits, size)
            now = database.now(session)
            made = fact_sets.add_fact_set(session, upload.facts, project_id=project_id, name=name, now=now)
            row = repository.add_file(
                session, blob, project_id=project_id, fact_set_id=made.id, name=name, now=now
            )
            shown = OpenAIFile.of(row)
    log.info("file.created", file_id=shown.id, fact_set_id=shown.fact_set_id, bytes=size)
    return shown


def _check_room(database: Database, project_id: ProjectId, defaults: Quotas, size: int) -> None:
    with database.begin() as session:
        limits = project_quotas.of_project(session, project_id, defaults)
        quotas.check_may_store(session, project_id, limits, size)


def get_file(database: Database, *, project_id: ProjectId, file_id: FileId) -> OpenAIFile:
    with database.read() as session:
        return OpenAIFile.of(repository.get_file(session, file_id, project_id=project_id))


def list_files(database: Database, cut: Cut[str], *, project_id: ProjectId) -> Sequence[OpenAIFile]:
    with database.read() as session:
        return [OpenAIFile.of(row) for row in repository.list_files(session, cut, project_id=project_id)]


def download_file(
    database: Database, store: ArtifactStore, *, project_id: ProjectId, file_id: FileId
) -> Download:
    """Return a file as it came.

    Raises:
        UploadedFileNotFoundError: The project has no such file.
    """
    with database.read() as session:
        row = repository.get_file(session, file_id, project_id=project_id)
    sha256 = row.sha256 or ""
    if not store.exists(sha256):  # before the answer has begun, not in the middle of it
        raise FileNotFoundError(f"the blob {sha256} of {file_id} is not in the store")
    return Download(row.name, sha256, row.bytes, chunks(store, sha256))


def delete_file(database: Database, *, project_id: ProjectId, file_id: FileId) -> None:
    """Delete a file, and the facts that were made of it. What jobs learned from them stays.

    Raises:
        UploadedFileNotFoundError: The project has no such file.
        FactSetInUseError: A job that has not ended needs the facts.
    """
    with database.begin() as session:
        fact_set_id = repository.delete_file(session, file_id, project_id=project_id)
        with suppress(FactSetNotFoundError):  # they may have been deleted by themselves
            fact_sets.delete_fact_set(session, fact_set_id, project_id=project_id)
    log.info("file.deleted", file_id=file_id)
