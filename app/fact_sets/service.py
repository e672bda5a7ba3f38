"""Use cases on fact sets. One function is one use case and one transaction."""

from collections.abc import Sequence

import structlog

from app.clock import Clock
from app.db.engine import Database
from app.db.lists import Cut
from app.fact_sets import reading, repository
from app.fact_sets.models import FactRow, FactSet
from app.fact_sets.reading import OnError
from app.fact_sets.schemas import FactSetCreated, FactSetRead, Rejected
from app.ids import FactSetId, ProjectId

log = structlog.get_logger(__name__)


def create_fact_set(
    database: Database,
    clock: Clock,
    *,
    project_id: ProjectId,
    data: bytes,
    media_type: str,
    name: str | None,
    on_error: OnError,
    max_facts: int,
) -> FactSetCreated:
    """Store an upload, all of it or nothing. A name within the document goes before `name`.

    Raises:
        AppError: As `reading.read_upload` says.
    """
    upload = reading.read_upload(data, media_type=media_type, on_error=on_error, max_facts=max_facts)
    with database.begin() as session:
        fact_set = repository.add_fact_set(
            session, upload.facts, project_id=project_id, name=upload.name or name, now=clock()
        )
    log.info(
        "fact_set.created", fact_set_id=fact_set.id, facts=fact_set.n_facts, rejected=upload.total_rejected
    )
    return FactSetCreated(
        **FactSetRead.model_validate(fact_set).model_dump(),
        rejected=[Rejected.model_validate(problem) for problem in upload.rejected],
        total_rejected=upload.total_rejected,
    )


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
