"""All checks, one after another, on one state of the database."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, text

import migrations
from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.clock import utc_now
from app.storage import ArtifactStore
from worker.fsck import files, jobs, results
from worker.fsck.report import Check, Report
from worker.fsck.snapshot import Snapshot, reading


def check_service(
    engine: Engine, *, store: ArtifactStore, work: Path, keep: timedelta, hashing: bool = False
) -> Report:
    """Check database and files. A running service may go on meanwhile.

    Args:
        store: Where files of adapters are.
        work: That of checkpoints.
        keep: How long the work of a job is kept that failed or was cancelled.
        hashing: Read every file of an adapter and every checkpoint, and put texts together anew.

    Raises:
        SQLAlchemyError: The database is out of reach.
        StoreUnavailableError: The store is.
    """
    with reading(engine) as connection:
        return check_on(connection, engine, store=store, work=work, keep=keep, hashing=hashing)


def check_on(
    connection: Connection,
    engine: Engine,
    *,
    store: ArtifactStore,
    work: Path,
    keep: timedelta,
    hashing: bool,
) -> Report:
    """Check what a transaction sees. `engine` is asked again where a file is missing."""
    revision = _revision(connection)
    if revision.problems:  # the tables are others than those that are to be checked
        return Report([revision])
    is_sqlite = connection.dialect.name == "sqlite"
    now = utc_now() if is_sqlite else connection.scalars(select(func.clock_timestamp())).one()
    at = Snapshot(connection, store, work, now=now, keep=keep, hashing=hashing)
    checks = [
        jobs.leases(at),
        jobs.fences(at),
        jobs.events(at),
        jobs.supervision(at),
        results.outcomes(at),
        results.adapters(at),
        results.exports(at),
        results.gates(at),
        results.scores(at),
        results.answers(at),
        files.blobs(at, engine),
        files.checkpoints(at, engine),
    ]
    return Report([revision, *([_integrity(connection)] if is_sqlite else []), *checks])


def _revision(connection: Connection) -> Check:
    check = Check("schema", 1)
    there, newest = migrations.current(connection), migrations.newest()
    if there != newest:
        said = f"is at {there or 'no revision'}, and this version of MixSD knows {newest}"
        check.found(
            "alembic_version", said, "stop the workers, then `mixsd db upgrade`, or use the other version"
        )
    return check


def _integrity(connection: Connection) -> Check:
    """Have SQLite look through its file."""
    check = Check("sqlite", 1)
    for (said,) in connection.execute(text("PRAGMA integrity_check")):
        if said != "ok":
            check.found("database", said, "stop the service and restore a backup; look after the disk")
    for table, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")):
        check.found(f"{table} row {row}", f"refers to nothing in {parent}", "restore a backup")
    return check
