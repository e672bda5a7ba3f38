"""Checks of jobs: leases, fences, events, and the texts that training takes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import and_, func, literal, or_, select, union_all

from app.adapters.models import Adapter, AdapterFile, AdapterStatus
from app.events.models import Event
from app.fact_sets.models import FactSet
from app.jobs.models import Checkpoint, Job, JobPhase, Supervision, WorkSpan
from app.jobs.states import OWNED, JobKind, Phase
from app.jobs.variants import variants_of
from mixsd.supervision import RETIRED
from worker.fsck.report import Check
from worker.fsck.snapshot import Snapshot, in_batches

_REPORT: Final = "this is a bug, or somebody has changed the database by hand: please report it"
_CANCEL: Final = f"cancel the job and submit it again; {_REPORT}"


def leases(at: Snapshot) -> Check:
    """Jobs that a worker has hold a lease, all others none, and nobody is charged for those."""
    check = Check("leases", at.count(select(func.count()).select_from(Job)))
    owned = Job.status.in_(OWNED)
    lease = (Job.lease_owner, Job.lease_expires_at, Job.heartbeat_at)
    has_any = or_(*(column.is_not(None) for column in lease))
    has_all = and_(*(column.is_not(None) for column in lease))
    wrong = select(Job.id, Job.status).where(or_(and_(~owned, has_any), and_(owned, ~has_all)))
    for job_id, status in at.rows(wrong):
        holds = "has no lease" if status in OWNED else "has a lease"
        check.found(job_id, f"is {status} and {holds}", _CANCEL)
    open_span = select(WorkSpan.job_id, Job.status).join(Job, Job.id == WorkSpan.job_id)
    for job_id, status in at.rows(open_span.where(WorkSpan.ended_at.is_(None), ~owned)):
        check.found(job_id, f"is {status} and its project is charged for it", _REPORT)
    return check


def fences(at: Snapshot) -> Check:
    """Nothing was written with a fence, or in an attempt, that the job has not reached."""
    check = Check("fences", at.count(select(func.count()).select_from(Job)))
    numbers: list[tuple[str, Any, Any, Any]] = [
        ("supervision with fence", Supervision.job_id, Supervision.fence, Job.fence),
        ("a checkpoint with fence", Checkpoint.job_id, Checkpoint.fence, Job.fence),
        ("a phase with fence", JobPhase.job_id, JobPhase.fence, Job.fence),
        ("work with fence", WorkSpan.job_id, WorkSpan.fence, Job.fence),
        ("an event of attempt", Event.job_id, Event.attempt, Job.attempt),
    ]
    parts = [
        select(literal(what).label("what"), Job.id, reached.label("reached"), func.max(number).label("most"))
        .join(Job, Job.id == owner)
        .where(number > reached)
        .group_by(Job.id, reached)
        for what, owner, number, reached in numbers
    ]
    for what, job_id, reached, most in at.rows(union_all(*parts)):
        check.found(job_id, f"has {what} {most}, and is at {reached} itself", _CANCEL)
    return check


def events(at: Snapshot) -> Check:
    """Events of a job are numbered from 1 without a gap, up to the number that the job notes."""
    check = Check("events", at.count(select(func.count()).select_from(Event)))
    told = select(
        Event.job_id,
        func.count().label("n"),
        func.min(Event.seq).label("low"),
        func.max(Event.seq).label("high"),
    )
    sums = told.group_by(Event.job_id).subquery()
    n = func.coalesce(sums.c.n, 0)
    wrong = select(Job.id, Job.event_seq, n, sums.c.low, sums.c.high).outerjoin(sums, sums.c.job_id == Job.id)
    for job_id, last, count, low, high in at.rows(
        wrong.where(or_(n != Job.event_seq, and_(n > 0, or_(sums.c.low != 1, sums.c.high != Job.event_seq))))
    ):
        there = f"{count} numbered {low} to {high}" if count else "none"
        check.found(job_id, f"should have events 1 to {last}, and has {there}", _REPORT)
    return check


def supervision(at: Snapshot) -> Check:
    """Once texts are made there is one for every fact, and training takes these very texts."""
    check = Check("supervision")
    _trained_too_early(at, check)
    generated = (
        select(Job.id, Job.method, Job.training, FactSet.n_facts, JobPhase.output_sha256)
        .join(JobPhase, and_(JobPhase.job_id == Job.id, JobPhase.phase == Phase.GENERATING))
        .join(FactSet, FactSet.id == Job.fact_set_id)
        .where(JobPhase.finished_at.is_not(None), Job.kind == JobKind.TRAINING)
    )
    for batch in in_batches(at.rows(generated)):
        check.checked += len(batch)
        counted = _texts_of(at, [job.id for job in batch])
        for job in batch:
            _whole(check, job, counted.get(job.id, {}))
        if at.hashing:
            for job in batch:
                _same_texts(at, check, job)
    return check


def _trained_too_early(at: Snapshot, check: Check) -> None:
    made = select(JobPhase).where(JobPhase.phase == Phase.GENERATING).subquery()
    early = (
        select(JobPhase.job_id)
        .outerjoin(made, made.c.job_id == JobPhase.job_id)
        .where(JobPhase.phase == Phase.TRAINING, or_(made.c.job_id.is_(None), made.c.finished_at.is_(None)))
        .where(or_(made.c.job_id.is_(None), JobPhase.fence >= made.c.fence))
    )
    for (job_id,) in at.rows(early):
        check.found(job_id, "was trained before its texts were complete", _CANCEL)


def _texts_of(at: Snapshot, job_ids: Sequence[str]) -> Mapping[str, Mapping[int, int]]:
    """Count the facts that have a text, by job and variant; texts that take answers away are none."""
    method = Supervision.body["method"].as_string()
    statement = (
        select(Supervision.job_id, Supervision.variant, func.count(Supervision.fact_key.distinct()))
        .where(
            Supervision.job_id.in_(job_ids),
            func.coalesce(method, "") != RETIRED,
        )
        .group_by(Supervision.job_id, Supervision.variant)
    )
    found: dict[str, dict[int, int]] = {}
    for job_id, variant, facts in at.connection.execute(statement):
        found.setdefault(job_id, {})[variant] = facts
    return found


def _whole(check: Check, job: Any, counted: Mapping[int, int]) -> None:
    own = {variant.supervised_by for variant in variants_of(job.method)}
    may_leave_out = job.training.get("known_facts") == "skip"
    for variant in sorted(own | counted.keys()):
        n = counted.get(variant, 0)
        if variant not in own:
            check.found(job.id, f"has texts of the variant {variant}, which it has not", _CANCEL)
        elif n > job.n_facts or (n < job.n_facts and not may_leave_out):
            check.found(
                job.id, f"has texts for {n} of {job.n_facts} facts (variant {variant})", "submit it again"
            )


def _same_texts(at: Snapshot, check: Check, job: Any) -> None:
    """Put the digests of the texts together anew, and compare with what phase and adapters name."""
    digests = dict(_digests(at, job.id))
    noted = list(digests.values())
    whole = noted[0] if len(noted) == 1 else _digest_of(noted)
    if job.output_sha256 is not None and job.output_sha256 != whole:
        check.found(job.id, "has other texts than it made: their digest differs", "submit it again")
    by_variant = {variant.number: variant.supervised_by for variant in variants_of(job.method)}
    for variant, trained_on in _trained_on(at, job.id):
        if trained_on != digests.get(by_variant.get(variant, variant)):
            said = f"has other texts than its adapter was trained on (variant {variant})"
            check.found(job.id, said, "trust the adapter's manifest, and keep a copy of both; " + _REPORT)


def _digests(at: Snapshot, job_id: str) -> Iterator[tuple[int, str]]:
    """Yield the digest of the texts of each variant, as `mixsd.supervision` makes it."""
    statement = select(Supervision.variant, Supervision.body).where(Supervision.job_id == job_id)
    ordered = statement.order_by(Supervision.variant, Supervision.ord, Supervision.generation)
    digest, current = hashlib.sha256(), None
    for variant, body in at.rows(ordered):
        if variant != current and current is not None:
            yield current, digest.hexdigest()
            digest = hashlib.sha256()
        current = variant
        digest.update(json.dumps(body, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    if current is not None:
        yield current, digest.hexdigest()


def _digest_of(digests: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _trained_on(at: Snapshot, job_id: str) -> Iterator[tuple[int, str]]:
    """Yield what the manifest of each adapter says of its texts, where it can be read."""
    statement = (
        select(Adapter.variant, AdapterFile.sha256)
        .join(AdapterFile, AdapterFile.adapter_id == Adapter.id)
        .where(Adapter.job_id == job_id, Adapter.status != AdapterStatus.DELETED)
        .where(AdapterFile.path == "manifest.json")
    )
    for variant, sha256 in at.connection.execute(statement).all():
        with suppress(OSError, ValueError, KeyError, TypeError), at.store.open(sha256) as blob:
            yield variant, json.loads(blob.read())["supervision"]["sha256"]
