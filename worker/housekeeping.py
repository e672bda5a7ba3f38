"""Clearing away what jobs leave behind."""

import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import delete, exists, select

from app.adapters.models import AdapterFile, Blob
from app.db.engine import Database
from app.ids import JobId
from app.jobs.models import Checkpoint, Job, JobPhase
from app.jobs.states import TERMINAL
from app.storage import ArtifactStore

log = structlog.get_logger(__name__)

BLOB_AGE: Final = timedelta(hours=24)
"""Age below which a blob may belong to a job that has yet to be published."""

LOG_AGE: Final = timedelta(days=7)
"""How long the log of a job is kept beyond its end."""


def clear_work(database: Database, work_dir: Path) -> None:
    """Delete the work of jobs that ended, and of jobs that are gone. Logs are kept for a while."""
    folders = [path for path in work_dir.iterdir() if path.is_dir()] if work_dir.is_dir() else []
    for folder in folders:
        if _forget_checkpoints(database, JobId(folder.name)):
            _clear_folder(folder)


def _forget_checkpoints(database: Database, job_id: JobId) -> bool:
    """Say whether the job has ended, and if so leave none of its checkpoints registered."""
    with database.begin() as session:
        status = session.scalars(select(Job.status).where(Job.id == job_id).with_for_update()).one_or_none()
        if status is not None and status not in TERMINAL:
            return False
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
        return True


def _clear_folder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.match("log*.txt") or _age(path) > LOG_AGE.total_seconds():
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def clear_blobs(database: Database, store: ArtifactStore, artifact_dir: Path) -> int:
    """Delete files of the store that are old and that nothing refers to. Returns how many.

    The row goes first: a file without a row is found again next time, a row without its file
    would be a lie.
    """
    cleared = 0
    for path in artifact_dir.glob("??/*") if artifact_dir.is_dir() else ():
        if _age(path) > BLOB_AGE.total_seconds() and _forget_blob(database, path.name):
            store.delete(path.name)
            cleared += 1
    return cleared


def _forget_blob(database: Database, sha256: str) -> bool:
    """Say whether no adapter and no unfinished job needs the blob, and if so delete its row."""
    used = select(
        exists().where(AdapterFile.sha256 == sha256)
        | exists(
            select(JobPhase.job_id)
            .join(Job, Job.id == JobPhase.job_id)
            .where(JobPhase.output_sha256 == sha256, Job.status.not_in(TERMINAL))
        )
    )
    with database.begin() as session:
        if session.scalars(used).one():
            return False
        session.execute(delete(Blob).where(Blob.sha256 == sha256))
        return True


def _age(path: Path) -> float:
    """Return the seconds since the file was last written; 0 if it is gone."""
    return time.time() - path.stat().st_mtime if path.exists() else 0.0
