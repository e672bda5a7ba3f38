"""Clearing away what jobs leave behind."""

import shutil
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import delete, exists, select

from app.adapters.models import AdapterFile, Blob
from app.db.engine import Database
from app.exports.models import ExportFile
from app.files.models import UploadedFile
from app.idempotency import repository as answers
from app.ids import JobId
from app.jobs.models import Checkpoint, Job, JobPhase, JobResult
from app.jobs.states import TERMINAL, JobStatus
from app.storage import ArtifactStore, is_digest
from app.webhooks import sending

log = structlog.get_logger(__name__)

BLOB_AGE: Final = timedelta(hours=24)
"""Age below which a blob may belong to a job that has yet to be published."""

LOG_AGE: Final = timedelta(days=7)
"""How long the log of a job is kept beyond its end."""


def clear_work(database: Database, work_dir: Path, *, keep: timedelta) -> None:
    """Delete the work of jobs that ended, and of jobs that are gone. Logs are kept for a while.

    Args:
        keep: How long the work of a job stays that failed or was cancelled: it may be retried.
    """
    folders = [path for path in work_dir.iterdir() if path.is_dir()] if work_dir.is_dir() else []
    for folder in folders:
        for path in _forgotten(database, folder, keep):
            _clear(path)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty


def _forgotten(database: Database, folder: Path, keep: timedelta) -> list[Path]:
    """Return what of a job's work may go, after seeing to it that no checkpoint is registered any more.

    That is decided, and listed, while the job's row is held: a retry comes before, or what its new
    attempt writes comes after.
    """
    job_id = JobId(folder.name)
    with database.begin() as session:
        statement = select(Job.status, Job.finished_at).where(Job.id == job_id).with_for_update()
        job = session.execute(statement).one_or_none()
        if job is not None and _may_go_on(job.status, job.finished_at, database.now(session) - keep):
            return []
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
        return list(folder.iterdir())


def _may_go_on(status: JobStatus, finished_at: datetime | None, since: datetime) -> bool:
    """Say whether the job has not ended, or could be retried because it ended after `since`."""
    if status is JobStatus.SUCCEEDED:
        return False
    return finished_at is None or finished_at > since


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif not path.match("log*.txt") or _age(path) > LOG_AGE.total_seconds():
        path.unlink(missing_ok=True)


def clear_blobs(database: Database, store: ArtifactStore, *, keep: timedelta) -> int:
    """Delete files of the store that are old and that nothing refers to, or that nobody writes any more.

    Returns how many.

    `keep` is that of `clear_work`: what phases of such a job have made stays as long.

    The row goes first: a file without a row is found again next time, a row without its file
    would be a lie. Before the file goes its age is looked at again: a list may be old, and somebody may
    have put the same anew.
    """
    cleared, oldest = 0, BLOB_AGE.total_seconds()
    for kept in store.blobs():
        if not is_digest(kept.name) or kept.age <= oldest or not _forget_blob(database, kept.name, keep):
            continue
        age = store.age(kept.name)
        if age is not None and age > oldest:
            store.delete(kept.name)
            cleared += 1
    return cleared + store.forget_begun(older_than=BLOB_AGE)  # what is being written is younger


def _forget_blob(database: Database, sha256: str, keep: timedelta) -> bool:
    """Say whether nothing stored and no job that may go on needs the blob, and if so delete its row."""
    with database.begin() as session:
        ended_lately = Job.finished_at > database.now(session) - keep
        may_go_on = Job.status.not_in(TERMINAL) | ((Job.status != JobStatus.SUCCEEDED) & ended_lately)
        used = select(
            exists().where(AdapterFile.sha256 == sha256)
            | exists().where(ExportFile.sha256 == sha256)
            | exists().where(UploadedFile.sha256 == sha256)
            | exists(
                select(JobPhase.job_id)
                .join(Job, Job.id == JobPhase.job_id)
                .where(JobPhase.output_sha256 == sha256, may_go_on)
            )
            | exists(
                select(JobResult.job_id)
                .join(Job, Job.id == JobResult.job_id)
                .where(JobResult.sha256 == sha256, may_go_on)
            )
        )
        if session.scalars(used).one():
            return False
        session.execute(delete(Blob).where(Blob.sha256 == sha256))
        return True


def clear_answers(database: Database) -> None:
    """Delete the answers to requests with an Idempotency-Key whose time is over."""
    with database.begin() as session:
        answers.forget_expired(session, now=database.now(session))


def clear_deliveries(database: Database, *, keep: timedelta) -> None:
    """Delete what is known of messages to webhooks that ended longer ago than `keep`."""
    with database.begin() as session:
        sending.forget_old(session, before=database.now(session) - keep)


def _age(path: Path) -> float:
    """Return the seconds since the file was last written; 0 if it is gone."""
    return time.time() - path.stat().st_mtime if path.exists() else 0.0
