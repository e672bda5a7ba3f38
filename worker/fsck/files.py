"""Checks of files: the artifact store, and checkpoints."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from sqlalchemy import Engine, func, or_, select, union_all

from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.exports.models import ExportFile
from app.files.models import UploadedFile
from app.jobs.models import Checkpoint, Job, JobPhase, JobResult
from app.jobs.states import TERMINAL, JobStatus
from app.storage import ArtifactStore, CorruptBlobError, Kept, is_digest
from mixsd.errors import CorruptError
from mixsd.manifest import verify
from worker.fsck.report import Check
from worker.fsck.snapshot import Snapshot, in_batches, reading
from worker.housekeeping import BLOB_AGE

_SWEEPS_WITHIN: Final = 7200.0
"""Seconds in which the sweeper deletes what it may, with time to spare."""

_LOST: Final = (
    "restore it from a backup of `artifacts`; without one, delete the adapter or export and make it again"
)


_LOST_UPLOAD: Final = (
    "restore it from a backup of `artifacts`; without one, delete the file and upload it again: its facts "
    "are in the database, and jobs do not need it"
)


def blobs(at: Snapshot, engine: Engine) -> Check:
    """Files of adapters, exports and uploads are there as they were written, and no others but new ones."""
    stored = {kept.name: kept for kept in at.store.blobs()}
    check = Check("blobs", len(stored))
    looking = _Looking(at, stored)
    _check_adapters(at, engine, check, looking)
    _check_uploads(at, engine, check, looking)
    needed = used(at)
    for sha256, size in _rows_without_file(at, engine, stored):
        check.found(sha256, f"a row of {size} bytes names it, and there is no such file", _LOST)
    for name, kept in stored.items():
        old = kept.age > BLOB_AGE.total_seconds() + _SWEEPS_WITHIN
        if old and name not in needed and not (is_digest(name) and at.store.age(name) is None):
            said = "nothing refers to it, and the sweeper has not deleted it"
            check.found(name, said, "see that a sweeper runs; if one does, delete the file")
    for begun in at.store.begun():
        if begun.age > BLOB_AGE.total_seconds() + _SWEEPS_WITHIN:
            said = (
                "is the beginning of a file, left by a process that died, and the sweeper has not deleted it"
            )
            check.found(begun.name, said, "see that a sweeper runs; if one does, delete it")
    return check


class _Looking:
    """Says what is wrong with stored files, of which each is read once."""

    def __init__(self, at: Snapshot, stored: Mapping[str, Kept]) -> None:
        self._store, self._stored, self._hashing = at.store, stored, at.hashing
        self._verified: set[str] = set()

    def wrong(self, sha256: str, size: int) -> str | None:
        if sha256 not in self._stored and not self._store.exists(sha256):
            return "is missing"
        if sha256 in self._stored and self._stored[sha256].bytes != size:
            return f"has {self._stored[sha256].bytes} bytes instead of {size}"
        if self._hashing and sha256 not in self._verified:
            self._verified.add(sha256)
            return _unreadable(self._store, sha256)
        return None


def _check_adapters(at: Snapshot, engine: Engine, check: Check, looking: _Looking) -> None:
    of_adapters = (
        select(AdapterFile.adapter_id, AdapterFile.path, AdapterFile.sha256, AdapterFile.bytes)
        .join(Adapter, Adapter.id == AdapterFile.adapter_id)
        .where(Adapter.status != AdapterStatus.DELETED)
    )
    of_exports = select(ExportFile.export_id, ExportFile.path, ExportFile.sha256, ExportFile.bytes)
    for owner_id, path, sha256, size in chain(at.rows(of_adapters), at.rows(of_exports)):
        wrong = looking.wrong(sha256, size)
        if wrong and still_has(engine, owner_id, path):
            check.found(owner_id, f"{path} ({sha256}) {wrong}", _LOST)


def _check_uploads(at: Snapshot, engine: Engine, check: Check, looking: _Looking) -> None:
    statement = select(UploadedFile.id, UploadedFile.sha256, UploadedFile.bytes)
    for file_id, sha256, size in at.rows(statement.where(UploadedFile.sha256.is_not(None))):
        wrong = looking.wrong(sha256, size)
        if wrong and still_uploaded(engine, file_id):
            check.found(file_id, f"its content ({sha256}) {wrong}", _LOST_UPLOAD)


def _unreadable(store: ArtifactStore, sha256: str) -> str | None:
    try:
        store.verify(sha256)
    except CorruptBlobError:
        return "is not what was written: its sha256 differs"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def still_has(engine: Engine, owner_id: str, path: str) -> bool:
    """Look again: the adapter or export may have been deleted since the snapshot, and its files with it."""
    adapters = select(AdapterFile.path).where(AdapterFile.adapter_id == owner_id, AdapterFile.path == path)
    exports = select(ExportFile.path).where(ExportFile.export_id == owner_id, ExportFile.path == path)
    statement = union_all(adapters, exports)
    with reading(engine) as connection:
        return connection.execute(statement).one_or_none() is not None


def still_uploaded(engine: Engine, file_id: str) -> bool:
    """Look again: the file may have been deleted since the snapshot."""
    statement = select(UploadedFile.id).where(UploadedFile.id == file_id, UploadedFile.sha256.is_not(None))
    with reading(engine) as connection:
        return connection.execute(statement).one_or_none() is not None


def _rows_without_file(at: Snapshot, engine: Engine, stored: Mapping[str, Kept]) -> Iterator[tuple[str, int]]:
    """Yield rows of blobs that nothing has, and that have no file. Those of the others were looked at."""
    unused = (
        select(Blob.sha256, Blob.bytes)
        .outerjoin(AdapterFile, AdapterFile.sha256 == Blob.sha256)
        .outerjoin(ExportFile, ExportFile.sha256 == Blob.sha256)
        .outerjoin(UploadedFile, UploadedFile.sha256 == Blob.sha256)
        .where(*(table.sha256.is_(None) for table in (AdapterFile, ExportFile, UploadedFile)))
    )
    for sha256, size in at.rows(unused):
        if sha256 in stored or at.store.exists(sha256):
            continue
        with reading(engine) as connection:
            if connection.execute(select(Blob.sha256).where(Blob.sha256 == sha256)).one_or_none():
                yield sha256, size


def used(at: Snapshot) -> set[str]:
    """Return the digests of adapters, exports and uploads, and of jobs that may go on. As sweepers do."""
    ended_lately = Job.finished_at > at.now - at.keep
    may_go_on = or_(Job.status.not_in(TERMINAL), (Job.status != JobStatus.SUCCEEDED) & ended_lately)
    phases = select(JobPhase.output_sha256).join(Job, Job.id == JobPhase.job_id)
    results = select(JobResult.sha256).join(Job, Job.id == JobResult.job_id)
    parts = (
        select(AdapterFile.sha256),
        select(ExportFile.sha256),
        select(UploadedFile.sha256).where(UploadedFile.sha256.is_not(None)),
        phases.where(JobPhase.output_sha256.is_not(None), may_go_on),
        results.where(may_go_on),
    )
    return {sha256 for part in parts for (sha256,) in at.rows(part)}


def checkpoints(at: Snapshot, engine: Engine) -> Check:
    """What is registered as a checkpoint is on disk, whole. Looked at where it is within reach."""
    check = Check("checkpoints")
    if not at.work.is_dir():
        return check
    check.checked = at.count(select(func.count()).select_from(Checkpoint))
    statement = select(Checkpoint.id, Checkpoint.job_id, Checkpoint.uri, Checkpoint.manifest_sha256)
    for batch in in_batches(at.rows(statement)):
        for checkpoint_id, job_id, uri, manifest_sha256 in batch:
            try:
                verify(at.work / uri, manifest_sha256, contents=at.hashing)
            except CorruptError as error:
                if _is_registered(engine, checkpoint_id):
                    check.found(
                        checkpoint_id,
                        f"of {job_id}: {error}",
                        "nothing: the job goes on from an older one, or anew; look after the disk",
                    )
    return check


def _is_registered(engine: Engine, checkpoint_id: str) -> bool:
    """Look again: a newer checkpoint may have taken its place since the snapshot."""
    with reading(engine) as connection:
        statement = select(Checkpoint.id).where(Checkpoint.id == checkpoint_id)
        return connection.execute(statement).one_or_none() is not None
