"""Use cases on fact sets. One function is one use case and one transaction."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from app.clock import Clock
from app.db.engine import Database
from app.db.lists import Cut
from app.fact_sets import comparing, reading, repository
from app.fact_sets.comparing import Change, Counts, Difference
from app.fact_sets.models import FactRow, FactSet
from app.fact_sets.reading import OnError
from app.fact_sets.schemas import (
    FactReport,
    FactSetCreated,
    FactSetRead,
    FileProblem,
)
from app.ids import FactSetId, ProjectId
from app.storage import or_full
from mixsd.intake.formats import Format

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Diff:
    """How two sets differ: how much in all, and a page of it with one row more if more follow."""

    from_id: FactSetId
    to_id: FactSetId
    counts: Counts
    rows: Sequence[Difference]


def create_fact_set(
    database: Database,
    clock: Clock,
    *,
    project_id: ProjectId,
    file: BinaryIO,
    kind: Format,
    name: str | None,
    on_error: OnError,
    max_facts: int,
) -> FactSetCreated:
    """Store a file of facts, all of it or nothing. A name within the document goes before `name`.

    Raises:
        AppError: As `reading.read_upload` says.
        StorageFullError: There is no room for what is put down on the way.
    """
    with (
        or_full(_size(file)),
        reading.read_upload(file, kind, on_error=on_error, max_facts=max_facts) as upload,
        database.begin() as session,
    ):
        fact_set = repository.add_fact_set(
            session, upload.facts, project_id=project_id, name=upload.name or name, now=clock()
        )
    log.info(
        "fact_set.created", fact_set_id=fact_set.id, facts=fact_set.n_facts, rejected=upload.total_rejected
    )
    return FactSetCreated(
        **FactSetRead.model_validate(fact_set).model_dump(),
        rejected=[FileProblem.model_validate(problem) for problem in upload.rejected],
        total_rejected=upload.total_rejected,
    )


def check_facts(file: BinaryIO, clock: Clock, *, kind: Format, max_facts: int) -> FactReport:
    """Say all there is to say about a file of facts. Nothing is stored, and bad facts are no error.

    Raises:
        AppError: The file cannot be judged: its format or size is refused whatever it holds.
    """
    with or_full(_size(file)):
        return FactReport.of(reading.check_upload(file, kind, today=clock().date(), max_facts=max_facts))


def diff(
    database: Database,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    fact_set_id: FactSetId,
    from_id: FactSetId,
    change: Change | None,
) -> Diff:
    """Compare a set with another one of the project, fact by fact and by key.

    Raises:
        FactSetNotFoundError: The project has not both.
    """
    with database.read() as session:
        after = repository.get_fact_set(session, fact_set_id, project_id=project_id)
        before = repository.get_fact_set(session, from_id, project_id=project_id)
        counts = comparing.count_changes(session, before, after)
        rows = comparing.list_changes(session, before.id, after.id, cut, change=change)
    return Diff(before.id, after.id, counts, rows)


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def get_fact_set(database: Database, *, project_id: ProjectId, fact_set_id: FactSetId) -> FactSet:
    with database.read() as session:
        return repository.get_fact_set(session, fact_set_id, project_id=project_id)


def list_fact_sets(database: Database, cut: Cut[str], *, project_id: ProjectId) -> Sequence[FactSet]:
    with database.read() as session:
        return repository.list_fact_sets(session, cut, project_id=project_id)


def list_facts(
    database: Database, cut: Cut[int], *, project_id: ProjectId, fact_set_id: FactSetId
) -> Sequence[FactRow]:
    with database.read() as session:
        fact_set = repository.get_fact_set(session, fact_set_id, project_id=project_id)
        return repository.list_facts(session, fact_set.id, cut)


def delete_fact_set(database: Database, *, project_id: ProjectId, fact_set_id: FactSetId) -> None:
    """Delete a fact set that no job needs any more."""
    with database.begin() as session:
        repository.delete_fact_set(session, fact_set_id, project_id=project_id)
    log.info("fact_set.deleted", fact_set_id=fact_set_id)
