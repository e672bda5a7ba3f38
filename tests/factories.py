"""Rows with defaults: a test names only what it is about."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select

from app.db.engine import Database
from app.fact_sets.models import FactRow, FactSet, FactSetStatus
from app.ids import FactSetId, JobId, ProjectId, new_id
from app.jobs.models import Job
from app.jobs.states import JobStatus
from app.projects.models import DEFAULT_PROJECT

NOW: Final = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def a_fact_set(database: Database, n: int = 2, project_id: ProjectId = DEFAULT_PROJECT) -> FactSet:
    """A stored set of `n` facts about invented rivers."""
    fact_set = FactSet(
        id=FactSetId(new_id("fset", now=NOW)),
        project_id=project_id,
        name="rivers",
        status=FactSetStatus.READY,
        n_facts=n,
        bytes=100,
        sha256="0" * 64,
        created_at=NOW,
    )
    with database.begin() as session:
        session.add(fact_set)
        session.flush()
        for ord_ in range(n):
            body = {"key": f"river-{ord_}", "question": f"Where is river {ord_}?", "answer": f"Land {ord_}"}
            session.add(FactRow(fact_set_id=fact_set.id, ord=ord_, key=body["key"], body=body))
    return fact_set


def a_job(database: Database, fact_set_id: FactSetId | None = None, **changes: Any) -> JobId:
    """A stored job, queued and due."""
    values: dict[str, Any] = {
        "id": JobId(new_id("job", now=NOW)),
        "project_id": DEFAULT_PROJECT,
        "fact_set_id": fact_set_id or a_fact_set(database).id,
        "name": None,
        "labels": {},
        "base_model": "tiny",
        "method_type": "mixsd",
        "method": {"type": "mixsd"},
        "training": {},
        "evaluation": {},
        "request_sha256": "0" * 64,
        "status": JobStatus.QUEUED,
        "next_run_at": NOW,
        "created_at": NOW,
    }
    with database.begin() as session:
        job = Job(**values | changes)
        session.add(job)
    return job.id


def the_job(database: Database, job_id: JobId) -> Job:
    """The job as it stands in the database now."""
    with database.read() as session:
        return session.scalars(select(Job).where(Job.id == job_id)).one()
