"""Use cases on what came of a job. All of them only read."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.adapters.schemas import Summary
from app.db.engine import Database
from app.db.lists import Cut
from app.evaluations import repository as evaluations
from app.evaluations.models import FactResult
from app.fact_sets import repository as fact_sets
from app.ids import JobId, ProjectId
from app.jobs import repository as jobs
from app.jobs.history import CPU
from app.jobs.models import Job, JobPhase
from app.jobs.schemas import JobError, gate_of
from app.jobs.states import JobKind
from app.jobs.variants import variants_of
from app.ledger import variants
from app.ledger.schemas import JobMemory, Outcome, PhaseMemory, PhaseRead, Report, ReportAdapter, ReportModel
from mixsd.exporting import ChatFormat, lines_of

BATCH: Final = 200
"""Supervision records that are read at a time."""


def list_results(
    database: Database,
    cut: Cut[int],
    *,
    project_id: ProjectId,
    job_id: JobId,
    outcome: Outcome | None,
    variant: int | None = None,
) -> Sequence[FactResult]:
    """Return the verdicts on the facts of a job: none before it has succeeded.

    Args:
        variant: Of several; left out, the recommended one.

    Raises:
        JobNotFoundError: The project has no such job.
        VariantNotFoundError: The job has no such variant.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        if variant is not None:
            variants.variant_of(job, variant)
        return evaluations.list_results(session, job.id, cut, outcome=outcome, variant=variant)


def supervision(
    database: Database,
    *,
    project_id: ProjectId,
    job_id: JobId,
    variant: int | None = None,
    form: ChatFormat | None = None,
) -> Iterator[bytes]:
    """Return what a variant is trained on as lines of JSON, by place of the fact and generation.

    Args:
        variant: Of several; left out, the recommended one, or the first before there is any.
        form: The texts that training takes, as chats for other trainers; left out, all records.

    Raises:
        JobNotFoundError: The project has no such job. Raised here, not from the iterator.
        VariantNotFoundError: The job has no such variant. As well.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        texts = variants.texts_of(session, job, variant)
    made_for = variants_of(job.method)[texts].method if job.method else {}
    style = str(made_for.get("prompt_style", "natural"))

    def as_lines(bodies: Iterator[dict[str, Any]]) -> Iterator[str]:
        if form is not None:
            return lines_of(bodies, form, prompt_style=style)
        return (json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n" for body in bodies)

    return _lines(database, job.id, texts, as_lines)


def _lines(
    database: Database,
    job_id: JobId,
    variant: int,
    as_lines: Callable[[Iterator[dict[str, Any]]], Iterator[str]],
) -> Iterator[bytes]:
    """Yield lines in batches. A slow reader holds no connection between them."""
    after = (-1, -1)
    while True:
        with database.read() as session:
            rows = jobs.supervision_after(session, job_id, after, limit=BATCH, variant=variant)
        if not rows:
            return
        yield "".join(as_lines(row.body for row in rows)).encode()
        after = (rows[-1].ord, rows[-1].generation)


def report(session: Session, job: Job) -> Report:
    """Sum up a job, within the transaction of the use case that asks."""
    every = variants.reports_of(session, job)
    if job.kind is not JobKind.TRAINING:
        adapter = session.get(Adapter, job.adapter_id)
        measured = evaluations.measured_by(session, job.id)
        summary = Summary.model_validate(measured.summary or {} if measured else {})
        n_facts = fact_sets.count_of(session, job.fact_set_id)
        counts, scores = variants.verdicts_of(session, measured.id if measured else None, n_facts)
    else:
        adapter = adapters.of_job(session, job.id)
        summary = Summary.model_validate(adapter.summary if adapter else {})
        shown = next((each for each in every if each.recommended), every[0])
        counts, scores = shown.counts, shown.scores
    rows = jobs.phases_of(session, [job.id])[job.id]
    return Report(
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        base_model=ReportModel(
            id=job.base_model, revision=adapter.base_revision if adapter else job.base_revision
        ),
        method=job.method or None,
        counts=counts,
        scores=scores,
        confidence=summary.confidence,
        supervision=summary.supervision,
        training=summary.training,
        mistakes=summary.mistakes,
        gate=gate_of(job),
        known=summary.known,
        phases=[_phase(row, job) for row in rows],
        memory=_memory(rows, job),
        parent_adapter_id=job.parent_adapter_id,
        living=summary.living,
        adapter=_adapter(session, adapter),
        variants=every,
        frontier=job.frontier,
        error=JobError.of(job),
    )


def _phase(row: JobPhase, job: Job) -> PhaseRead:
    expected = (job.forecast or {}).get("phases", ())
    ended = row.finished_at or row.updated_at
    return PhaseRead(
        phase=row.phase,
        seconds=(ended - row.started_at).total_seconds(),
        done=row.done,
        total=row.total,
        unit=row.unit,
        forecast=next((each["seconds"] for each in expected if each["phase"] == row.phase), None),
        memory=None if row.host_bytes is None else PhaseMemory(host=row.host_bytes, device=row.device_bytes),
    )


def _memory(rows: Sequence[JobPhase], job: Job) -> JobMemory | None:
    taken = [row.host_bytes if job.device == CPU else row.device_bytes for row in rows]
    peak = max((size for size in taken if size is not None), default=None)
    expected = (job.forecast or {}).get("memory") or {}
    return None if peak is None else JobMemory(peak=peak, forecast=expected.get("peak"))


def _adapter(session: Session, adapter: Adapter | None) -> ReportAdapter | None:
    if adapter is None:
        return None
    return ReportAdapter(
        id=adapter.id,
        status=adapter.status,
        bytes=adapter.bytes,
        sha256=adapter.sha256,
        files=[file.path for file in adapters.files_of(session, adapter.id)],
    )
