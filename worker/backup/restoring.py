"""Putting a backup back: all of it or nothing."""

import shutil
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, update
from sqlalchemy.orm import Session

import migrations
from app.db.engine import Database, without_limits
from app.jobs import leases
from app.jobs.models import Checkpoint, Job, WorkSpan
from app.jobs.states import OWNED, JobStatus
from app.projects.models import DEFAULT_PROJECT, Project
from app.storage import ArtifactStore
from app.tables import Base
from worker.backup import layout
from worker.backup.errors import BackupVersionError, TargetNotEmptyError
from worker.backup.layout import Manifest
from worker.fsck.snapshot import in_batches

_BECOMES: Final = {JobStatus.CANCELLING: JobStatus.CANCELLED, JobStatus.PAUSING: JobStatus.PAUSED}


def restore(
    database: Database, source: Path, *, store: ArtifactStore, work: Path, force: bool = False
) -> Manifest:
    """Put a backup into a database, which may be of another kind than it came from, store and folder.

    Nothing is written before all of the backup was read and found whole. Files come first, then rows, in
    one transaction. No service may be running on them. Jobs that ran go back to the queue.

    Args:
        store: Where files of adapters go.
        work: That of checkpoints.
        force: Throw away what is in the database.

    Raises:
        BackupDamagedError: The backup is not as it was written.
        BackupVersionError: This version of MixSD knows another revision.
        TargetNotEmptyError: There are rows already, and `force` is not given.
        StorageFullError: There is no room.
        SQLAlchemyError: The database is out of reach.
        StoreUnavailableError: The store is.
    """
    manifest = layout.verify(source)
    if (manifest.format, manifest.revision) != (layout.FORMAT, migrations.newest()):
        raise BackupVersionError(
            f"the backup is of MixSD {manifest.product} at {manifest.revision}, and this version knows "
            f"{migrations.newest()}: restore it with the version that made it, then upgrade that"
        )
    if not force and (full := _table_with_rows(database.engine)):
        raise TargetNotEmptyError(
            f"there are {full} in the database already: name an empty one (--data, MIXSD_DATABASE_URL), "
            "or throw away what is there with --force"
        )
    migrations.upgrade(database.engine)
    _restore_files(source, store, work=work)
    with database.begin() as session:
        without_limits(session.connection())
        _restore_rows(session.connection(), source)
        _forget_checkpoints(session, source)
        _hand_back(session, database)
    return manifest


def _table_with_rows(engine: Engine) -> str | None:
    """Return the name of a table that is not as migrations leave it, if there is one."""
    there = set(inspect(engine).get_table_names())
    with engine.connect() as connection:
        for table in layout.tables():
            if table.name not in there:
                continue
            rows = select(func.count()).select_from(table)
            if table.name == Project.__tablename__:
                rows = rows.where(table.c.id != DEFAULT_PROJECT)
            if connection.scalars(rows).one():
                return table.name
    return None


def _restore_files(source: Path, store: ArtifactStore, *, work: Path) -> None:
    for path in (source / layout.ARTIFACTS).glob("??/*"):
        store.put(path)
    if (source / layout.WORK).is_dir():
        shutil.copytree(source / layout.WORK, work, dirs_exist_ok=True)


def _restore_rows(connection: Connection, source: Path) -> None:
    for table in reversed(Base.metadata.sorted_tables):
        connection.execute(delete(table))
    for table in layout.tables():
        for batch in in_batches(layout.rows_of(source, table)):
            connection.execute(insert(table), batch)


def _forget_checkpoints(session: Session, source: Path) -> None:
    """Leave only those registered that came along."""
    gone = [
        checkpoint_id
        for checkpoint_id, uri in session.execute(select(Checkpoint.id, Checkpoint.uri))
        if not (source / layout.WORK / uri).is_dir()
    ]
    for batch in in_batches(gone):
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_(batch)))


def _hand_back(session: Session, database: Database) -> None:
    """Take jobs from workers that are no more. What they worked is charged up to their last heartbeat."""
    now = database.now(session)
    owned = session.execute(
        select(Job.id, Job.fence, Job.status, Job.heartbeat_at).where(Job.status.in_(OWNED))
    ).all()
    for job_id, fence, status, heartbeat_at in owned:
        span = update(WorkSpan).where(WorkSpan.job_id == job_id, WorkSpan.ended_at.is_(None))
        ended = _BECOMES.get(status, JobStatus.QUEUED)
        session.execute(span.values(ended_at=heartbeat_at, outcome=str(ended)))
        leases.release(session, job_id, fence, now=now)
