"""Making a backup of a service that may be at work."""

import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection, Engine, select

import migrations
from app.adapters.models import Adapter, AdapterFile, AdapterStatus
from app.clock import utc_now
from app.exports.models import ExportFile
from app.files.models import UploadedFile
from app.jobs.models import Checkpoint, Job
from app.jobs.states import TERMINAL
from app.storage import ArtifactStore, CorruptBlobError
from mixsd import __version__
from mixsd.durable import whole_folder
from mixsd.errors import CorruptError
from mixsd.manifest import verify
from worker.backup import layout
from worker.backup.errors import BackupExistsError, BackupVersionError
from worker.backup.layout import Manifest
from worker.fsck.files import still_has, still_uploaded, used
from worker.fsck.snapshot import Snapshot, reading


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup holds, and what should be in it and was not to be had."""

    folder: Path
    rows: int
    files: int
    bytes: int
    missing: list[str] = field(default_factory=list)


def save(engine: Engine, target: Path, *, store: ArtifactStore, work: Path, keep: timedelta) -> Saved:
    """Write a backup into the folder `target`, which is complete or absent.

    Rows come first, from one state of the database; then the files that they name. Those are never
    changed, so files and rows agree, whatever the service does meanwhile.

    Args:
        store: Where files of adapters are.
        work: That of checkpoints.
        keep: How long the work of a job is kept that failed or was cancelled.

    Raises:
        BackupExistsError: There is such a folder.
        BackupVersionError: The database is at another revision than this version knows.
        DiskFullError: There is no room.
        SQLAlchemyError: The database is out of reach.
        StoreUnavailableError: The store is.
    """
    if target.exists():
        raise BackupExistsError(f"{target} is there already: name a new folder")
    target = target.absolute()
    with (
        reading(engine) as connection,
        whole_folder(target, target.with_name(f".{target.name}.partial")) as to,
    ):
        to.chmod(0o700)  # it has the secrets of webhooks
        revision = migrations.current(connection)
        if revision != migrations.newest():
            raise BackupVersionError(
                f"the database is at {revision}, and this version of MixSD knows {migrations.newest()}: "
                "run `mixsd db upgrade` first, or make the backup with the version that belongs to it"
            )
        now = utc_now()
        at = Snapshot(connection, store, work, now=now, keep=keep, hashing=True)
        rows = _save_rows(connection, to)
        missing = _save_blobs(at, engine, to)
        _save_checkpoints(at, to)
        files, size, files_sha256 = layout.list_files(to)
        dialect = connection.dialect.name
        Manifest(
            product=__version__,
            revision=revision,
            created_at=now.isoformat(),
            database=dialect,
            rows=rows,
            files=files,
            bytes=size,
            files_sha256=files_sha256,
            missing=missing,
        ).write(to)
    return Saved(target, sum(rows.values()), files, size, missing)


def _save_rows(connection: Connection, to: Path) -> dict[str, int]:
    (to / layout.ROWS).mkdir()
    counts = {}
    for table in layout.tables():
        counts[table.name] = 0
        with (to / layout.ROWS / f"{table.name}.jsonl").open("w", encoding="utf-8") as out:
            found = connection.execute(select(table), execution_options={"yield_per": 1000})
            for row in found.mappings():
                out.write(layout.to_line({column.key: row[column] for column in table.columns}))
                counts[table.name] += 1
    return counts


def _save_blobs(at: Snapshot, engine: Engine, to: Path) -> list[str]:
    """Copy the files that rows name. Returns those that are not there as they were written."""
    copied = {sha256 for sha256 in used(at) if _copied(at.store, sha256, to / layout.ARTIFACTS)}
    of_adapters = (
        select(AdapterFile.adapter_id, AdapterFile.path, AdapterFile.sha256)
        .join(Adapter, Adapter.id == AdapterFile.adapter_id)
        .where(Adapter.status != AdapterStatus.DELETED)
    )
    of_exports = select(ExportFile.export_id, ExportFile.path, ExportFile.sha256)
    missing = [
        f"{path} of {owner_id} ({sha256})"
        for owner_id, path, sha256 in chain(at.rows(of_adapters), at.rows(of_exports))
        if sha256 not in copied and still_has(engine, owner_id, path)
    ]
    uploads = select(UploadedFile.id, UploadedFile.sha256).where(UploadedFile.sha256.is_not(None))
    return missing + [
        f"{file_id} ({sha256})"
        for file_id, sha256 in at.rows(uploads)
        if sha256 not in copied and still_uploaded(engine, file_id)
    ]


def _copied(store: ArtifactStore, sha256: str, to: Path) -> bool:
    """Copy a file, and say whether it is there. Digests of phases may name none."""
    place = to / sha256[:2] / sha256
    try:
        with store.open(sha256) as blob:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                shutil.copyfileobj(blob, file)
    except (FileNotFoundError, CorruptBlobError, ValueError):
        place.unlink(missing_ok=True)
        return False
    return True


def _save_checkpoints(at: Snapshot, to: Path) -> None:
    """Copy checkpoints of jobs that go on, but for those that were just replaced, or are damaged."""
    statement = (
        select(Checkpoint.uri, Checkpoint.manifest_sha256)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.status.not_in(TERMINAL))
    )
    for uri, manifest_sha256 in at.connection.execute(statement).all():
        copy = to / layout.WORK / uri
        try:
            shutil.copytree(at.work / uri, copy)
            verify(copy, manifest_sha256)
        except (OSError, CorruptError):
            shutil.rmtree(copy, ignore_errors=True)
