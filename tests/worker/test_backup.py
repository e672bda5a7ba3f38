"""A backup is made while jobs run, and gives the same service elsewhere, or nothing at all."""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, delete, make_url, select, text

import migrations
from app.adapters.models import Adapter, AdapterFile
from app.db.engine import Database, make_engine
from app.jobs.models import Checkpoint, Job, WorkSpan
from app.jobs.states import Action, JobStatus
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.factories import a_job, the_job
from tests.worker.finished import a_finished_job, a_trained_job, claimed, finish
from tests.worker.rig import Rig
from worker.backup.errors import (
    BackupDamagedError,
    BackupExistsError,
    BackupVersionError,
    TargetNotEmptyError,
)
from worker.backup.restoring import restore
from worker.backup.saving import Saved, save

Elsewhere = Callable[[], Rig]


def saved(rig: Rig, target: Path) -> Saved:
    settings = rig.settings
    return save(
        rig.database.engine,
        target,
        store=LocalStore(settings.artifact_dir),
        work=settings.work_dir,
        keep=settings.keep_work,
    )


def put_back(rig: Rig, source: Path, *, force: bool = False) -> None:
    settings = rig.settings
    restore(
        rig.database, source, store=LocalStore(settings.artifact_dir), work=settings.work_dir, force=force
    )


@pytest.fixture(params=["sqlite", "postgres"])
def elsewhere(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: str, settings: Settings
) -> Iterator[Rig]:
    """An empty database of another name, with a data folder of its own."""
    folder = tmp_path / "elsewhere"
    name = f"test_{uuid4().hex}"
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'mixsd.db'}"
    else:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        url = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    database = Database(make_engine(url))
    yield Rig(database, settings.model_copy(update={"data_dir": folder, "database_url": url}))
    database.engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


def test_a_backup_of_a_service_at_work_gives_the_same_service_elsewhere(
    rig: Rig, elsewhere: Rig, tmp_path: Path
) -> None:
    done = a_finished_job(rig)
    running = rig.submit(pace=0.05)
    claim = claimed(rig)
    assert claim is not None
    backing_up = threading.Thread(target=saved, args=(rig, tmp_path / "backup"))
    backing_up.start()
    finish(rig, claim)
    backing_up.join()

    put_back(elsewhere, tmp_path / "backup")

    assert not list(tmp_path.glob(".backup*"))
    elsewhere.check_whole()
    elsewhere.keys = rig.keys
    elsewhere.check_result(done)
    back = elsewhere.job(running)
    if back.status is not JobStatus.SUCCEEDED:  # a backup that was slow to begin may have seen its end
        assert (back.status, back.attempt, back.attempt_open) == (JobStatus.QUEUED, 1, True)
        assert elsewhere.events(running)[-1] == "job.requeued"
        again = claimed(elsewhere)
        assert again is not None
        finish(elsewhere, again)
    elsewhere.check_result(running)
    elsewhere.check_whole()


def test_adapters_are_downloaded_from_the_restored_service_as_they_were(
    rig: Rig, elsewhere: Rig, tmp_path: Path
) -> None:
    job_id = a_finished_job(rig)
    saved(rig, tmp_path / "backup")
    put_back(elsewhere, tmp_path / "backup")

    store = LocalStore(elsewhere.settings.artifact_dir)
    app = build_app(elsewhere.database, store, NullDispatcher(), elsewhere.settings)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        (adapter,) = client.get("/adapters", params={"job_id": job_id}).json()["data"]
        got = client.get(f"/adapters/{adapter['id']}/files/adapter_model.safetensors")

    assert got.status_code == 200
    with rig.database.read() as session:
        known = session.scalars(select(AdapterFile.sha256)).one()
    assert hashlib.sha256(got.content).hexdigest() == known


def test_a_job_goes_on_from_the_checkpoint_that_came_along(rig: Rig, tmp_path: Path, elsewhere: Rig) -> None:
    job_id = a_trained_job(rig)
    saved(rig, tmp_path / "backup")

    put_back(elsewhere, tmp_path / "backup")

    assert len(elsewhere.rows(Checkpoint, job_id)) == 2
    elsewhere.check_whole()
    claim = claimed(elsewhere)
    assert claim is not None
    finish(elsewhere, claim)
    elsewhere.keys = rig.keys
    elsewhere.check_result(job_id)
    assert not any(line.startswith("training") for line in elsewhere.trace(job_id))


def test_a_checkpoint_that_is_gone_is_not_registered_any_more(
    rig: Rig, tmp_path: Path, elsewhere: Rig
) -> None:
    job_id = a_trained_job(rig)
    first, *_ = rig.rows(Checkpoint, job_id)
    shutil.rmtree(rig.settings.work_dir / first.uri)
    saved(rig, tmp_path / "backup")
    with rig.database.begin() as session:
        session.execute(delete(Checkpoint))

    put_back(elsewhere, tmp_path / "backup")

    assert len(elsewhere.rows(Checkpoint, job_id)) == 1
    elsewhere.check_whole()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (JobStatus.RUNNING, JobStatus.QUEUED),
        (JobStatus.PAUSING, JobStatus.PAUSED),
        (JobStatus.CANCELLING, JobStatus.CANCELLED),
    ],
)
def test_jobs_that_a_worker_had_wait_and_nobody_is_charged_for_the_time_since(
    rig: Rig, tmp_path: Path, elsewhere: Rig, before: JobStatus, after: JobStatus
) -> None:
    job_id = rig.submit()
    assert claimed(rig) is not None
    if before is not JobStatus.RUNNING:
        rig.act(job_id, Action.PAUSE if before is JobStatus.PAUSING else Action.CANCEL)
    saved(rig, tmp_path / "backup")

    put_back(elsewhere, tmp_path / "backup")

    assert the_job(elsewhere.database, job_id).status is after
    (span,) = elsewhere.rows(WorkSpan, job_id)
    assert span.ended_at is not None
    assert span.ended_at - span.started_at < timedelta(seconds=1)
    elsewhere.check_whole()


def spoil_rows(folder: Path) -> None:
    path = folder / "rows" / "jobs.jsonl"
    path.write_text(path.read_text().replace("river", "lake ") + "\n")


def spoil_blob(folder: Path) -> None:
    path = next((folder / "artifacts").glob("??/*"))
    path.write_bytes(path.read_bytes()[:-1])


def spoil_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"missing": []', '"missing": ["x"]'))


SPOILS: dict[str, Callable[[Path], None]] = {
    "rows": spoil_rows,
    "a file": spoil_blob,
    "the manifest": spoil_manifest,
    "a missing file": lambda folder: (folder / "rows" / "events.jsonl").unlink(),
    "a file too many": lambda folder: (folder / "rows" / "more.jsonl").touch(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("elsewhere", ["sqlite"], indirect=True)
def test_a_damaged_backup_is_refused_and_nothing_of_it_restored(
    rig: Rig, tmp_path: Path, elsewhere: Rig, spoil: str
) -> None:
    a_finished_job(rig)
    saved(rig, tmp_path / "backup")
    SPOILS[spoil](tmp_path / "backup")

    with pytest.raises(BackupDamagedError):
        put_back(elsewhere, tmp_path / "backup")

    assert not elsewhere.settings.data_dir.exists()


def test_what_is_there_stays_unless_it_may_be_thrown_away(rig: Rig, tmp_path: Path) -> None:
    saved(rig, tmp_path / "empty")
    job_id = rig.submit()

    with pytest.raises(TargetNotEmptyError, match="--force"):
        put_back(rig, tmp_path / "empty")
    assert rig.job(job_id).status is JobStatus.QUEUED

    put_back(rig, tmp_path / "empty", force=True)
    with rig.database.read() as session:
        assert session.scalars(select(Job.id)).all() == []


def test_a_restore_that_fails_in_the_middle_leaves_the_database_as_it_was(rig: Rig, tmp_path: Path) -> None:
    saved(rig, tmp_path / "empty")
    a_finished_job(rig)
    saved(rig, tmp_path / "backup")
    put_back(rig, tmp_path / "empty", force=True)
    kept = rig.submit()
    with rig.database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE UNIQUE INDEX in_the_way ON fact_results (outcome)")
    try:
        with pytest.raises(Exception, match=r"(?i)unique"):
            put_back(rig, tmp_path / "backup", force=True)
    finally:
        with rig.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX in_the_way")

    assert rig.job(kept).status is JobStatus.QUEUED
    rig.check_whole()


def test_a_backup_of_another_revision_is_refused_with_what_to_do(
    rig: Rig, tmp_path: Path, elsewhere: Rig
) -> None:
    config = migrations.config_for(rig.database.engine)
    command.downgrade(config, "-1")
    try:
        with pytest.raises(BackupVersionError, match="mixsd db upgrade"):
            saved(rig, tmp_path / "backup")
    finally:
        command.upgrade(config, "head")
    assert list(tmp_path.glob("*backup*")) == []


def test_a_backup_overwrites_nothing(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(BackupExistsError):
        saved(rig, tmp_path)


def test_a_file_that_is_lost_is_told_and_the_rest_is_saved(rig: Rig, tmp_path: Path) -> None:
    a_finished_job(rig)
    a_job(rig.database)
    with rig.database.begin() as session:
        (adapter_id,) = session.scalars(select(Adapter.id))
        sha256 = session.scalars(select(AdapterFile.sha256)).one()
    store = LocalStore(rig.settings.artifact_dir)
    store.delete(sha256)

    made = saved(rig, tmp_path / "backup")

    assert made.missing == [f"adapter_model.safetensors of {adapter_id} ({sha256})"]
    assert made.rows > 10
    with rig.database.begin() as session:  # whole again, for the end of this test
        session.execute(text("DELETE FROM adapter_files"))
        session.execute(text("DELETE FROM blobs"))
        session.execute(text("UPDATE adapters SET status = 'deleted'"))
