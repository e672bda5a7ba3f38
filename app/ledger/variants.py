"""The variants of a job, with what came of each. For use cases that only read."""

from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.adapters.schemas import Summary
from app.evaluations import repository as evaluations
from app.fact_sets import repository as fact_sets
from app.ids import EvaluationId
from app.jobs.errors import VariantNotFoundError
from app.jobs.models import Job
from app.jobs.states import JobKind, JobStatus
from app.jobs.variants import Variant, variants_of
from app.ledger.schemas import Counts, ScoreRead, VariantReport


def variant_of(job: Job, number: int) -> Variant:
    """Return one of a job's variants.

    Raises:
        VariantNotFoundError: The job has none of that number.
    """
    every = variants_of(job.method)
    if not 0 <= number < len(every):
        raise VariantNotFoundError(job.id, number, len(every))
    return every[number]


def texts_of(session: Session, job: Job, number: int | None) -> int:
    """Return the number of the variant for which the texts were made that a variant is trained on.

    Args:
        number: Left out, that of the recommended one, or the first before there is any.

    Raises:
        VariantNotFoundError: The job has none of that number.
    """
    if number is None and job.kind is not JobKind.TRAINING:
        return 0  # of which it has no texts
    if number is None:
        adapter = adapters.of_job(session, job.id)
        number = adapter.variant if adapter else 0
    return variant_of(job, number).supervised_by


def reports_of(session: Session, job: Job) -> list[VariantReport]:
    """Sum up each variant of a job."""
    n_facts = fact_sets.count_of(session, job.fact_set_id)
    made = {adapter.variant: adapter for adapter in adapters.all_of_job(session, job.id)}
    return [
        _report(session, job, variant, made.get(variant.number), n_facts)
        for variant in variants_of(job.method)
    ]


def _report(
    session: Session, job: Job, variant: Variant, adapter: Adapter | None, n_facts: int
) -> VariantReport:
    counts, scores = _verdicts(session, adapter, n_facts)
    summary = Summary.model_validate(adapter.summary if adapter else {})
    left_out = adapter is None and job.status is JobStatus.SUCCEEDED
    return VariantReport.model_validate(
        {
            "variant": variant.number,
            "label": variant.label,
            "method": variant.method,
            "recommended": adapter is not None and adapter.recommended,
            "counts": counts,
            "scores": scores,
            "supervision": summary.supervision,
            "training": summary.training,
            "gate": summary.gate,
            "adapter_id": adapter and adapter.id,
            "adapter_status": adapter and adapter.status,
            "reason": "no_supervision" if left_out else None,
        }
    )


def _verdicts(session: Session, adapter: Adapter | None, n_facts: int) -> tuple[Counts, list[ScoreRead]]:
    return verdicts_of(session, evaluations.of_adapter(session, adapter) if adapter else None, n_facts)


def verdicts_of(
    session: Session, evaluation_id: EvaluationId | None, n_facts: int
) -> tuple[Counts, list[ScoreRead]]:
    """Return outcomes, counted, and scores of an evaluation: none of no evaluation."""
    if evaluation_id is None:
        return Counts(facts=n_facts), []
    outcomes = evaluations.count_outcomes(session, evaluation_id)
    scores = evaluations.scores_of(session, evaluation_id)
    return Counts.of(n_facts, outcomes), [ScoreRead.model_validate(score) for score in scores]
