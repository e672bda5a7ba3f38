"""What must hold of the jobs once all is quiet, whatever happened on the way."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.adapters.models import Adapter, AdapterFile
from app.db.engine import Database
from app.evaluations.models import Evaluation
from app.events.models import Event
from app.jobs.models import Job, JobAttempt, Supervision, WorkSpan
from app.jobs.states import OWNED, TERMINAL, JobStatus
from app.settings import Settings
from app.storage import ArtifactStore, CorruptBlobError, LocalStore
from tests.worker import fake_pipeline
from worker.fsck.checking import check_service


@dataclass(frozen=True, slots=True)
class Expected:
    """A job that the service has taken, the keys of its facts, and how it may end."""

    job_id: str
    keys: Sequence[str]
    ends: Collection[JobStatus] = (JobStatus.SUCCEEDED,)


@dataclass
class Findings:
    """What does not hold, in words, by kind."""

    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    wrong_sha: list[str] = field(default_factory=list)
    missing_rows: list[str] = field(default_factory=list)
    broken_rows: list[str] = field(default_factory=list)
    """Leases, attempts, spans and events that contradict the job."""
    fsck_findings: list[str] = field(default_factory=list)
    """What `mixsd fsck` finds, which knows nothing of what was asked for."""

    def all(self) -> list[str]:
        return [f"{each.name}: {found}" for each in fields(self) for found in getattr(self, each.name)]


def look_over(database: Database, settings: Settings, expected: Sequence[Expected]) -> Findings:
    """Compare what is stored with what was promised. Every job must have come to its end."""
    store = LocalStore(settings.artifact_dir)
    found = Findings(fsck_findings=list(_check_all(database, settings)))
    with database.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        asked = {each.job_id for each in expected}
        found.duplicates += [f"{job_id} was made without being asked for" for job_id in jobs.keys() - asked]
        for each in expected:
            job = next((job for job_id, job in jobs.items() if job_id == each.job_id), None)
            if job is None:
                found.lost.append(f"{each.job_id} is gone")
                continue
            if job.status not in each.ends:
                found.lost.append(f"{job.id} is {job.status} ({job.error_code}), not {set(each.ends)}")
            _look_at_row(session, job, found)
            _look_at_result(session, store, job, each.keys, found)
    return found


def _check_all(database: Database, settings: Settings) -> Iterator[str]:
    """Yield what the service's own check finds, every file and text read."""
    report = check_service(
        database.engine,
        store=LocalStore(settings.artifact_dir),
        work=settings.work_dir,
        keep=settings.keep_work,
        hashing=True,
    )
    for check in report.checks:
        yield from (f"{check.name}: {problem.object} {problem.what}" for problem in check.problems)


def _look_at_row(session: Session, job: Job, found: Findings) -> None:
    held = [job.lease_owner, job.lease_expires_at, job.heartbeat_at]
    if job.status in OWNED or any(held):
        found.broken_rows.append(f"{job.id} is {job.status} and held by {job.lease_owner}")
    seqs = session.scalars(select(Event.seq).where(Event.job_id == job.id).order_by(Event.seq)).all()
    if list(seqs) != list(range(1, job.event_seq + 1)):
        found.broken_rows.append(f"{job.id} has events {list(seqs)[-5:]} and counts {job.event_seq}")
    spans = session.scalars(select(WorkSpan).where(WorkSpan.job_id == job.id).order_by(WorkSpan.fence)).all()
    if any(span.ended_at is None for span in spans):
        found.broken_rows.append(f"{job.id} has a span of work that has not ended")
    pairs = itertools.pairwise(spans)
    if any(later.started_at < (earlier.ended_at or later.started_at) for earlier, later in pairs):
        found.broken_rows.append(f"{job.id} had two owners at a time")
    attempts = session.scalars(select(JobAttempt).where(JobAttempt.job_id == job.id)).all()
    numbers = sorted(attempt.attempt for attempt in attempts)
    if numbers != list(range(1, job.attempt + 1)):
        found.broken_rows.append(f"{job.id} is in attempt {job.attempt} and has attempts {numbers}")
    if job.status in TERMINAL and any(attempt.ended_at is None for attempt in attempts):
        found.broken_rows.append(f"{job.id} has an attempt that has not ended")


def _look_at_result(
    session: Session, store: ArtifactStore, job: Job, keys: Sequence[str], found: Findings
) -> None:
    adapters = session.scalars(select(Adapter).where(Adapter.job_id == job.id)).all()
    evaluations = session.scalars(select(Evaluation).where(Evaluation.job_id == job.id)).all()
    wanted = 1 if job.status is JobStatus.SUCCEEDED else 0
    if max(len(adapters), len(evaluations)) > wanted:
        found.duplicates.append(f"{job.id}: {len(adapters)} adapters, {len(evaluations)} evaluations")
    elif min(len(adapters), len(evaluations)) < wanted:
        found.lost.append(f"{job.id} is {job.status} without a result")
    ends = session.scalars(select(Event.type).where(Event.job_id == job.id)).all()
    if ends.count("job.succeeded") > 1:
        found.duplicates.append(f"{job.id} succeeded {ends.count('job.succeeded')} times")
    if not wanted:
        return
    _look_at_texts(session, job, keys, found)
    digests = select(AdapterFile.sha256).where(AdapterFile.adapter_id.in_([each.id for each in adapters]))
    for sha256 in session.scalars(digests):
        _look_at_file(store, job, sha256, fake_pipeline.final_weights(list(keys)), found)


def _look_at_texts(session: Session, job: Job, keys: Sequence[str], found: Findings) -> None:
    rows = session.scalars(select(Supervision).where(Supervision.job_id == job.id)).all()
    count = Counter(row.fact_key for row in rows)
    found.missing_rows += [f"{job.id}: no text for {key}" for key in keys if not count[key]]
    found.duplicates += [f"{job.id}: {n} texts for {key}" for key, n in count.items() if n > 1]
    wrong = [row.fact_key for row in rows if row.body != fake_pipeline.text_of(row.fact_key)]
    found.wrong_sha += [f"{job.id}: the text for {key} is another" for key in wrong]


def _look_at_file(store: ArtifactStore, job: Job, sha256: str, weights: str, found: Findings) -> None:
    try:
        with store.open(sha256) as file:
            stored = file.read().decode()
    except (FileNotFoundError, CorruptBlobError) as error:
        found.wrong_sha.append(f"{job.id}: {error}")
        return
    if stored != weights:
        found.wrong_sha.append(f"{job.id} has other weights than it should")
