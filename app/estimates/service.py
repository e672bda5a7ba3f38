"""The use case of estimating a job. Nothing is stored."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from app.base_models.catalogue import revision_for
from app.db.engine import Database
from app.estimates import repository
from app.estimates.schemas import DiskEstimate, Estimate, EstimateWarning, QueueEstimate
from app.fact_sets import reading
from app.fact_sets import repository as fact_sets
from app.fact_sets.reading import Upload
from app.ids import ProjectId
from app.jobs import parents
from app.jobs import service as jobs
from app.jobs.forecasts import ASKED_FOR, Forecaster, Made, Sample, Wanted, sample_in, sample_of
from app.jobs.requests import JobCreate
from app.storage import ArtifactStore

_BEATS: Final = 3
"""Leases without a sign after which a worker counts as gone."""


def estimate_job(
    database: Database,
    *,
    project_id: ProjectId,
    request: JobCreate,
    allowed_models: Collection[str],
    max_facts: int,
    forecaster: Forecaster,
    lease: timedelta,
    store: ArtifactStore | None = None,
) -> Estimate:
    """Say what a job would take. Refuses what the job would be refused for, but for quotas.

    Raises:
        ModelNotAllowedError: The model or its revision may not be used.
        InvalidFactsError: Something is wrong with the facts that came along.
        TooManyFactsError: There are too many of them.
        FactSetNotFoundError: The project has no such fact set.
        AppError: The job could not start from its parent, see `app.jobs.parents`.
        SuiteNotMeasuredError: The gate is on a suite that the facts have no question of.
    """
    revision = revision_for(request.base_model, request.revision, allowed=allowed_models)
    upload = None if request.facts is None else reading.read_inline(request.facts, max_facts=max_facts)
    with database.read() as session:
        now = database.now(session)
        sample = _sample(session, request, upload, project_id=project_id)
        settings = request.settings()
        parent = parents.find_parent(session, store, request, upload, project_id=project_id)
        if parent is not None:
            settings, revision = parents.shaped(settings, request, parent), parent.base_revision
        wanted = Wanted(request.base_model, revision, settings, parent.counts if parent else None)
        made = forecaster.make(session, wanted, sample)
        workers = repository.workers_alive(session, now=now, silence=_BEATS * lease)
        queue = _queue(session, request.priority, workers, now)
    return Estimate.model_validate(
        {
            **made.to_json(),
            "base_model": request.base_model,
            "revision": revision,
            "disk": DiskEstimate(model=made.model.fetched, job=made.disk),
            "queue": queue,
            "warnings": list(_warnings(made, workers)),
        }
    )


def _sample(session: Session, request: JobCreate, upload: Upload | None, *, project_id: ProjectId) -> Sample:
    gate = request.evaluation.gate
    if upload is not None:
        if gate:
            jobs.check_gate_inline(gate, upload)
        return sample_of(upload, ASKED_FOR)
    found = fact_sets.get_fact_set(session, request.fact_set_id or "", project_id=project_id)
    jobs.check_gate(session, gate, found.id)
    return sample_in(session, found, ASKED_FOR)


def _queue(session: Session, priority: int, workers: int | None, now: datetime) -> QueueEstimate:
    ahead = repository.ahead_of(session, priority=priority, now=now)
    return QueueEstimate(
        jobs_ahead=min(ahead.count, repository.MOST_AHEAD),
        workers=workers,
        starts_in_seconds=None if workers is None else repository.starts_in(ahead, workers),
    )


def _warnings(made: Made, workers: int | None) -> Iterator[EstimateWarning]:
    work = made.work
    if work.too_long:
        named = ", ".join(work.too_long_keys)
        more = "" if work.too_long == len(work.too_long_keys) else ", …"
        yield EstimateWarning(
            code="facts_too_long",
            detail=f"{work.too_long} of {work.sampled} facts that were looked at do not fit the model's "
            f"context of {made.model.shape.context} tokens and would be skipped: {named}{more}",
        )
    if made.model.folder is None:
        yield EstimateWarning(
            code="model_not_on_disk",
            detail="the model is not on disk here: tokens are guessed from the length of texts, and facts "
            "that are too long for it are not found. Fetch it, or ask POST /models/check",
        )
    if made.forecast.seconds is None:
        yield EstimateWarning(
            code="no_forecast",
            detail="the size of the model is not known here and no job with it has succeeded yet: how long "
            "it takes cannot be said",
        )
    if workers == 0:
        yield EstimateWarning(code="no_worker", detail="no worker has reported lately: the job would wait")
