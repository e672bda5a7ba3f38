"""Use cases on what is told of a job as a whole. All of them only read."""

from typing import Final

from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.db.engine import Database
from app.db.lists import Cut
from app.evaluations import repository as evaluations
from app.fact_sets.models import FactSet
from app.ids import JobId, ProjectId
from app.jobs import repository as jobs
from app.jobs.models import Job
from app.jobs.states import JobKind
from app.ledger import service as ledger
from app.ledger import variants
from app.ledger.schemas import FactResultRead, Report
from app.reports import manifests, repository
from app.reports.curves import curves_of
from app.reports.schemas import (
    FactProvenance,
    JobManifest,
    JobReport,
    LedgerExcerpt,
    ProvenanceExcerpt,
    TextCounts,
    TextProvenance,
)
from app.storage import ArtifactStore

MOST_FACTS: Final = 1000
"""Verdicts that a report has room for."""
MOST_PROVENANCE: Final = 100
"""Facts whose texts a report has room for."""


def report(database: Database, *, project_id: ProjectId, job_id: JobId, facts: int, texts: int) -> JobReport:
    """Tell all about a job, in one consistent view.

    Args:
        facts: How many verdicts to list, at most `MOST_FACTS`.
        texts: How many facts to show the texts of, at most `MOST_PROVENANCE`.

    Raises:
        JobNotFoundError: The project has no such job.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        return _report(session, job, ledger.report(session, job), facts, texts)


def _report(session: Session, job: Job, summed_up: Report, facts: int, texts: int) -> JobReport:
    variant = variants.texts_of(session, job, None)
    made, trained_on, with_texts = repository.count_texts(session, job.id, variant)
    shown = _texts(session, job, variant, Cut(texts))[:texts]
    return JobReport(
        **dict(summed_up),
        name=job.name,
        phase=job.phase,
        attempt=job.attempt,
        fact_set_id=job.fact_set_id,
        wait_reason=job.wait_reason,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        texts=TextCounts(made=made, trained_on=trained_on),
        curves=curves_of(session, job.id, summed_up.training),
        ledger=LedgerExcerpt(
            total=_judged(summed_up), more=f"/jobs/{job.id}/facts", data=_verdicts(session, job, facts)
        ),
        provenance=ProvenanceExcerpt(total=with_texts, more=f"/jobs/{job.id}/provenance", data=shown),
    )


def _judged(report: Report) -> int:
    return sum(report.counts.model_dump(exclude={"facts"}).values())


def _verdicts(session: Session, job: Job, most: int) -> list[FactResultRead]:
    rows = evaluations.list_results(session, job.id, Cut(most), outcome=None) if most else []
    return [FactResultRead.of(row) for row in rows[:most]]


def _texts(
    session: Session, job: Job, variant: int, cut: Cut[int], key: str | None = None
) -> list[FactProvenance]:
    if not cut.limit:
        return []
    return [
        FactProvenance(ord=rows[0].ord, key=rows[0].fact_key, texts=[TextProvenance.of(row) for row in rows])
        for rows in repository.texts_by_fact(session, job.id, variant, cut, key=key)
    ]


def list_provenance(
    database: Database,
    cut: Cut[int],
    *,
    project_id: ProjectId,
    job_id: JobId,
    key: str | None,
    variant: int | None = None,
) -> list[FactProvenance]:
    """Return the texts of facts, token by token, by place of the fact; of one alone with `key`.

    Args:
        variant: Of several; left out, the recommended one, or the first before there is any.

    Raises:
        JobNotFoundError: The project has no such job.
        VariantNotFoundError: The job has no such variant.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        return _texts(session, job, variants.texts_of(session, job, variant), cut, key)


def manifest(
    database: Database, store: ArtifactStore, *, project_id: ProjectId, job_id: JobId
) -> JobManifest:
    """Return everything that decided a run, as far as it is known.

    Raises:
        JobNotFoundError: The project has no such job.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        adapter = session.get(Adapter, job.adapter_id) if job.adapter_id else adapters.of_job(session, job.id)
        fact_set = session.get_one(FactSet, job.fact_set_id)
        phases = jobs.phases_of(session, [job.id])[job.id]
        packed = manifests.packed_manifest(store, adapter)
        if job.kind is not JobKind.TRAINING:  # the rest is of the run that made the adapter
            packed = {name: packed[name] for name in ("base_model", "files") if name in packed}
        variants = manifests.variants_in(store, job, adapters.all_of_job(session, job.id))
        parent = (
            manifests.parent_in(
                job,
                session.get(Adapter, job.parent_adapter_id),
                session.get(FactSet, job.parent_fact_set_id),
                packed,
            )
            if job.parent_adapter_id
            else None
        )
        return manifests.manifest_of(job, fact_set, adapter, phases, packed, variants, parent)
