"""Checks of what jobs have published: outcomes, adapters, gates, scores; and of kept answers."""

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.evaluations.models import Evaluation, FactResult, Score
from app.exports.models import Export, ExportFile, ExportStatus
from app.fact_sets.models import FactRow, FactSet, FactSetStatus
from app.idempotency.models import StoredAnswer
from app.jobs.models import Job
from app.jobs.states import JobKind, JobStatus
from app.projects.models import ApiKey, Project
from app.webhooks.models import Webhook
from mixsd.evaluation.outcomes import Outcome
from worker.fsck.report import Check
from worker.fsck.snapshot import Snapshot, in_batches

_AGAIN: Final = "measure the adapter again: POST /evaluations"
_RUN_AGAIN: Final = "restore a backup, or submit the job again"

_LOCATIONS: Final[Mapping[str, InstrumentedAttribute[Any]]] = {
    "adapters": Adapter.id,
    "jobs": Job.id,
    "fact-sets": FactSet.id,
    "projects": Project.id,
    "api-keys": ApiKey.id,
    "webhooks": Webhook.id,
}
"""What answers may point to: the head of a path, and the column with the ids."""


def outcomes(at: Snapshot) -> Check:
    """Each fact of a succeeded job has exactly one outcome for each of its adapters."""
    done = select(func.count()).select_from(Job).where(Job.status == JobStatus.SUCCEEDED)
    check = Check("outcomes", at.count(done))
    _measured(at, check)
    results = select(FactResult.evaluation_id, func.count().label("n")).group_by(FactResult.evaluation_id)
    counts = results.subquery()
    n = func.coalesce(counts.c.n, 0)
    short = (
        select(Evaluation.id, n, FactSet.n_facts)
        .join(Job, Job.id == Evaluation.job_id)
        .join(FactSet, FactSet.id == Job.fact_set_id)
        .outerjoin(counts, counts.c.evaluation_id == Evaluation.id)
    )
    for evaluation_id, count, facts in at.rows(short.where(n != FactSet.n_facts)):
        check.found(evaluation_id, f"has outcomes of {count} facts, of {facts} that there are", _AGAIN)
    unknown = select(FactResult.evaluation_id, FactResult.fact_key, FactResult.outcome)
    for evaluation_id, key, outcome in at.rows(unknown.where(FactResult.outcome.not_in(list(Outcome)))):
        check.found(evaluation_id, f"says {outcome!r} of the fact {key}, which is no outcome", _AGAIN)
    foreign = (
        select(FactResult.evaluation_id, FactResult.fact_key)
        .join(Evaluation, Evaluation.id == FactResult.evaluation_id)
        .join(Job, Job.id == Evaluation.job_id)
        .join(FactSet, and_(FactSet.id == Job.fact_set_id, FactSet.status == FactSetStatus.READY))
        .outerjoin(FactRow, and_(FactRow.fact_set_id == FactSet.id, FactRow.key == FactResult.fact_key))
        .where(FactRow.key.is_(None))
    )
    for evaluation_id, key in at.rows(foreign):
        check.found(evaluation_id, f"has an outcome of {key}, which is none of its facts", _AGAIN)
    return check


def _measured(at: Snapshot, check: Check) -> None:
    """See that a job that succeeded has what it was for, and one that did not has nothing of it."""
    adapters = select(Adapter.job_id, func.count().label("n")).group_by(Adapter.job_id).subquery()
    measured = select(Evaluation.job_id, func.count().label("n")).group_by(Evaluation.job_id).subquery()
    written = select(Export.job_id, func.count().label("n")).group_by(Export.job_id).subquery()
    made, told = func.coalesce(adapters.c.n, 0), func.coalesce(measured.c.n, 0)
    exported = func.coalesce(written.c.n, 0)
    succeeded = Job.status == JobStatus.SUCCEEDED
    trains, measures = Job.kind == JobKind.TRAINING, Job.kind == JobKind.EVALUATION
    writes = Job.kind == JobKind.EXPORT  # and one that was deleted since is no loss
    statement = (
        select(Job.id, Job.status, made, told, exported)
        .outerjoin(adapters, adapters.c.job_id == Job.id)
        .outerjoin(measured, measured.c.job_id == Job.id)
        .outerjoin(written, written.c.job_id == Job.id)
        .where(
            or_(
                and_(succeeded, trains, or_(made == 0, made != told)),
                and_(succeeded, measures, or_(made != 0, told != 1)),
                and_(succeeded, writes, or_(made != 0, told != 0, exported > 1)),
                and_(~succeeded, or_(made != 0, told != 0)),
                and_(or_(~succeeded, ~writes), exported != 0),
            )
        )
    )
    for job_id, status, adapter_count, evaluation_count, export_count in at.rows(statement):
        said = f"is {status} with {adapter_count} adapters and {evaluation_count} evaluations"
        said += f" and {export_count} exports" if export_count else ""
        check.found(job_id, said, _RUN_AGAIN)


def adapters(at: Snapshot) -> Check:
    """The rows of an adapter that can be seen agree: files, sizes, and the digest that names it."""
    seen = Adapter.status != AdapterStatus.DELETED
    check = Check("adapters", at.count(select(func.count()).select_from(Adapter).where(seen)))
    files = (
        select(AdapterFile.adapter_id, func.sum(AdapterFile.bytes).label("size"))
        .group_by(AdapterFile.adapter_id)
        .subquery()
    )
    named = and_(AdapterFile.adapter_id == Adapter.id, AdapterFile.sha256 == Adapter.sha256)
    statement = (
        select(Adapter.id, Adapter.bytes, files.c.size, AdapterFile.path)
        .outerjoin(files, files.c.adapter_id == Adapter.id)
        .outerjoin(AdapterFile, named)
        .where(seen)
        .where(or_(files.c.size.is_(None), files.c.size != Adapter.bytes, AdapterFile.path.is_(None)))
    )
    for adapter_id, size, found, path in at.rows(statement):
        if found is None:
            said = "has no files"
        elif path is None:
            said = "has no file with the digest that names it"
        else:
            said = f"should have {size} bytes, and its files have {found}"
        check.found(adapter_id, said, _RUN_AGAIN)
    sizes = select(AdapterFile.adapter_id, AdapterFile.path).join(Blob, Blob.sha256 == AdapterFile.sha256)
    for adapter_id, path in at.rows(sizes.where(Blob.bytes != AdapterFile.bytes)):
        check.found(adapter_id, f"the size of {path} is not that of its blob", _RUN_AGAIN)
    return check


def exports(at: Snapshot) -> Check:
    """The rows of an export agree: files, sizes, the digest that names it, and what parity found."""
    check = Check("exports", at.count(select(func.count()).select_from(Export)))
    files = (
        select(ExportFile.export_id, func.sum(ExportFile.bytes).label("size"))
        .group_by(ExportFile.export_id)
        .subquery()
    )
    named = and_(ExportFile.export_id == Export.id, ExportFile.sha256 == Export.sha256)
    failed = Export.parity["status"].as_string() == "failed"
    statement = (
        select(Export.id, Export.bytes, files.c.size, ExportFile.path)
        .outerjoin(files, files.c.export_id == Export.id)
        .outerjoin(ExportFile, named)
        .where(or_(files.c.size.is_(None), files.c.size != Export.bytes, ExportFile.path.is_(None)))
    )
    again = "delete it, and have the adapter exported again"
    for export_id, size, found, path in at.rows(statement):
        said = f"should have {size} bytes and a manifest, and has {found or 0} and {path or 'none'}"
        check.found(export_id, said, again)
    for (export_id,) in at.rows(select(Export.id).where(failed != (Export.status == ExportStatus.UNUSABLE))):
        check.found(export_id, "has a status that is not what its parity says", again)
    return check


def gates(at: Snapshot) -> Check:
    """An adapter that its gate has failed is held back, or somebody has released it."""
    verdict = Adapter.summary["gate"]["status"].as_string()
    check = Check("gates", at.count(select(func.count()).select_from(Adapter).where(verdict.is_not(None))))
    of_job = and_(Job.gate_status == "failed", Job.kind == JobKind.TRAINING, Adapter.recommended)
    free = and_(Adapter.status == AdapterStatus.READY, Adapter.released_at.is_(None))
    statement = select(Adapter.id).outerjoin(Job, Job.id == Adapter.job_id)
    for (adapter_id,) in at.rows(statement.where(free, or_(verdict == "failed", of_job))):
        check.found(
            adapter_id,
            "has failed its gate, and is neither held back nor released",
            "delete it, or have it measured again and decide",
        )
    return check


def scores(at: Snapshot) -> Check:
    """Only a job that succeeded has been measured."""
    check = Check("scores", at.count(select(func.count()).select_from(Score)))
    statement = (
        select(Score.evaluation_id, Job.status, func.count())
        .outerjoin(Evaluation, Evaluation.id == Score.evaluation_id)
        .outerjoin(Job, Job.id == Evaluation.job_id)
        .where(or_(Evaluation.id.is_(None), Job.status != JobStatus.SUCCEEDED))
        .group_by(Score.evaluation_id, Job.status)
    )
    for evaluation_id, status, n in at.rows(statement):
        said = f"{n} scores of a job that is {status}" if status else f"{n} scores of no evaluation"
        check.found(evaluation_id, said, "delete the job, or restore a backup")
    return check


def answers(at: Snapshot) -> Check:
    """An answer that is kept for requests that come again points to something that exists."""
    check = Check("idempotency", at.count(select(func.count()).select_from(StoredAnswer)))
    kept = select(StoredAnswer.project_id, StoredAnswer.key, StoredAnswer.location)
    for batch in in_batches(at.rows(kept.where(StoredAnswer.location.is_not(None)))):
        wanted: dict[str, list[str]] = {}
        for _, _, location in batch:
            kind, thing = _parts(location)
            if kind in _LOCATIONS:
                wanted.setdefault(kind, []).append(thing)
        there = {
            (kind, found)
            for kind, ids in wanted.items()
            for found in at.connection.scalars(select(_LOCATIONS[kind]).where(_LOCATIONS[kind].in_(ids)))
        }
        for project_id, key, location in batch:
            kind, thing = _parts(location)
            if kind in _LOCATIONS and (kind, thing) not in there:
                said = f"the answer to the key {key!r} names {location}, which does not exist"
                check.found(
                    project_id, said, "send the request with another key; restore a backup if in doubt"
                )
    return check


def _parts(location: str) -> tuple[str, str]:
    match = re.search(r"([^/]+)/([^/]+)$", location)
    return (match[1], match[2]) if match else ("", "")
