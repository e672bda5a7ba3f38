"""`mixsd fsck` finds what is wrong, names it, and nothing else; and it changes nothing."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text

import migrations
from app.db.engine import Database
from app.settings import Settings
from app.storage import LocalStore
from tests.app.published import a_published_job
from tests.factories import a_job
from tests.worker.finished import a_finished_job, claimed
from tests.worker.rig import Rig
from worker.fsck.checking import check_on, check_service
from worker.fsck.report import Report

Ids = Mapping[str, str]


@pytest.fixture
def rig(database: Database, settings: Settings) -> Rig:
    """One that tests may leave broken."""
    return Rig(database, settings)


def checked(rig: Rig, connection: Connection | None = None, *, hashing: bool = True) -> Report:
    settings, engine = rig.settings, rig.database.engine
    folders: dict[str, Any] = {
        "store": LocalStore(settings.artifact_dir),
        "work": settings.work_dir,
        "keep": settings.keep_work,
        "hashing": hashing,
    }
    if connection is None:
        return check_service(engine, **folders)
    return check_on(connection, engine, **folders)


def found(report: Report) -> dict[str, list[str]]:
    """What was found, by check: objects."""
    return {
        check.name: [problem.object for problem in check.problems]
        for check in report.checks
        if check.problems
    }


@contextmanager
def spoiled(database: Database) -> Iterator[Connection]:
    """A transaction in which no constraint holds, and that is undone."""
    with database.engine.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF").close()
            connection.rollback()
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("DROP TRIGGER jobs_only_forward")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_lease_iff_owned")
        yield connection
        connection.rollback()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
            connection.rollback()


def ids_of(rig: Rig) -> dict[str, str]:
    with rig.database.engine.connect() as connection:
        pairs = {"job": "jobs", "adapter": "adapters", "evaluation": "evaluations"}
        return {
            name: connection.scalars(text(f"SELECT max(id) FROM {table}")).one()  # noqa: S608
            for name, table in pairs.items()
        }


def test_a_service_that_did_a_job_is_whole(rig: Rig) -> None:
    a_finished_job(rig)
    rig.submit()
    assert claimed(rig) is not None
    rig.submit()

    report = checked(rig)

    assert report.ok, found(report)
    looked_at = {check.name: check.checked for check in report.checks}
    assert looked_at["leases"] == looked_at["fences"] == 3
    assert looked_at["events"] > 10
    for name in ("schema", "supervision", "outcomes", "adapters", "scores", "blobs", "checkpoints"):
        assert looked_at[name] > 0, name


def test_a_job_that_is_under_way_is_whole_at_every_moment(rig: Rig) -> None:
    rig.submit(pace=0.02)

    with rig.working():
        while not any(line.startswith("packaging") for line in rig.trace(next(iter(rig.keys)))):
            report = checked(rig)
            assert report.ok, found(report)


SPOILS: dict[str, tuple[str, str, list[str]]] = {
    "a job that waits has a lease": (
        "leases",
        "job",
        ["UPDATE jobs SET lease_owner = 'me:1', lease_expires_at = created_at, heartbeat_at = created_at"],
    ),
    "a job that runs has no lease": (
        "leases",
        "job",
        [
            "UPDATE jobs SET status = 'running', finished_at = NULL",
            "DELETE FROM adapters",
            "DELETE FROM evaluations",
            "DELETE FROM scores",
            "DELETE FROM fact_results",
        ],
    ),
    "a project is charged for a job that ended": ("leases", "job", ["UPDATE work_spans SET ended_at = NULL"]),
    "supervision of a fence to come": ("fences", "job", ["UPDATE supervision SET fence = 9"]),
    "a checkpoint of a fence to come": ("fences", "job", ["UPDATE checkpoints SET fence = 9"]),
    "an event of an attempt to come": ("fences", "job", ["UPDATE events SET attempt = 9 WHERE seq = 2"]),
    "an event is missing": ("events", "job", ["DELETE FROM events WHERE seq = 3"]),
    "the last event is missing": ("events", "job", ["UPDATE jobs SET event_seq = event_seq + 1"]),
    "a fact has no text": ("supervision", "job", ["DELETE FROM supervision WHERE ord = 1"]),
    "a text was changed": (
        "supervision",
        "job",
        ["""UPDATE supervision SET body = '{"fact_key": "river-1", "text": "x"}' WHERE ord = 1"""],
    ),
    "training began too early": (
        "supervision",
        "job",
        ["UPDATE job_phases SET finished_at = NULL WHERE phase = 'generating'"],
    ),
    "a fact has no outcome": ("outcomes", "evaluation", ["DELETE FROM fact_results WHERE ord = 2"]),
    "an outcome is none": (
        "outcomes",
        "evaluation",
        ["UPDATE fact_results SET outcome = 'forgot' WHERE ord = 2"],
    ),
    "an outcome is of another fact": (
        "outcomes",
        "evaluation",
        ["UPDATE fact_results SET fact_key = 'lake' WHERE ord = 2"],
    ),
    "a job that succeeded has no adapter": (
        "outcomes",
        "job",
        ["DELETE FROM adapters", "DELETE FROM adapter_files"],
    ),
    "an adapter has another digest": ("adapters", "adapter", ["UPDATE adapters SET sha256 = 'another'"]),
    "an adapter has another size": ("adapters", "adapter", ["UPDATE adapters SET bytes = bytes + 1"]),
    "a failed gate holds nothing back": (
        "gates",
        "adapter",
        ["""UPDATE adapters SET summary = '{"gate": {"status": "failed"}}'"""],
    ),
    "a failed gate of the job holds nothing back": (
        "gates",
        "adapter",
        ["UPDATE jobs SET gate_status = 'failed'"],
    ),
    "a job that failed was measured": (
        "scores",
        "evaluation",
        ["UPDATE jobs SET status = 'failed', error_code = 'x'", "DELETE FROM adapters"],
    ),
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda name: name.replace(" ", "-"))
def test_what_is_wrong_in_the_database_is_named(rig: Rig, spoil: str) -> None:
    name, kind, statements = SPOILS[spoil]
    a_finished_job(rig)
    ids = ids_of(rig)

    with spoiled(rig.database) as connection:
        for statement in statements:
            connection.execute(text(statement))
        report = checked(rig, connection)

    broken = found(report)
    assert ids[kind] in broken[name]
    problems = [problem for check in report.checks for problem in check.problems]
    assert all(problem.what and problem.do for problem in problems)
    assert not report.ok
    assert checked(rig).ok  # the transaction was undone, and the check itself has changed nothing


def test_an_answer_that_points_to_nothing_is_named(rig: Rig) -> None:
    job_id = a_job(rig.database)
    insert = text(
        "INSERT INTO idempotency_keys (project_id, key, request_sha256, status_code, location, media_type,"
        " body, created_at, expires_at) VALUES ('prj_default', :key, 'x', 202, :location, 'application/json',"
        " '{}', '2026-11-29', '2036-11-29')"
    )
    with rig.database.engine.begin() as connection:
        for place, thing in enumerate([job_id, "job_lost"]):
            connection.execute(insert, {"key": f"key-{place}", "location": f"/jobs/{thing}"})

    report = checked(rig)

    assert found(report) == {"idempotency": ["prj_default"]}
    (problem,) = [problem for check in report.checks for problem in check.problems]
    assert "/jobs/job_lost" in problem.what


def the_blob(rig: Rig) -> Path:
    with rig.database.engine.connect() as connection:
        sha256 = str(connection.scalars(text("SELECT sha256 FROM adapter_files")).one())
    return rig.settings.artifact_dir / sha256[:2] / sha256


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "seen_without_hashing"),
    [(Path.unlink, True), (lambda path: path.write_bytes(b"short"), True), (flip, False)],
    ids=["missing", "cut short", "one bit flipped"],
)
def test_a_file_of_an_adapter_that_is_not_as_it_was_is_named(
    rig: Rig,
    harm: Callable[[Path], object],
    seen_without_hashing: bool,  # noqa: FBT001
) -> None:
    a_finished_job(rig)
    harm(the_blob(rig))

    expected = {"blobs": [ids_of(rig)["adapter"]]}
    assert found(checked(rig)) == expected
    assert found(checked(rig, hashing=False)) == (expected if seen_without_hashing else {})


def test_a_file_that_nothing_refers_to_may_be_young(rig: Rig) -> None:
    rig.submit()
    forgotten = LocalStore(rig.settings.artifact_dir).put_bytes(b"from a job that was deleted")
    assert checked(rig).ok

    path = rig.settings.artifact_dir / forgotten.sha256[:2] / forgotten.sha256
    begun = rig.settings.artifact_dir / ".0123.tmp"
    begun.touch()
    long_ago = time.time() - timedelta(days=2).total_seconds()
    for old in (path, begun):
        os.utime(old, (long_ago, long_ago))

    assert found(checked(rig)) == {"blobs": [forgotten.sha256, ".0123.tmp"]}


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_checkpoint_that_is_not_as_it_was_is_named(rig: Rig, harm: str) -> None:
    a_finished_job(rig)
    with rig.database.engine.connect() as connection:
        checkpoint_id, uri = connection.execute(text("SELECT id, uri FROM checkpoints ORDER BY step")).all()[
            0
        ]
    if harm == "missing":
        shutil.rmtree(rig.settings.work_dir / uri)
    else:
        flip(rig.settings.work_dir / uri / "state.json")

    assert found(checked(rig)) == {"checkpoints": [checkpoint_id]}


def test_a_database_of_another_version_is_not_looked_into(rig: Rig) -> None:
    config = migrations.config_for(rig.database.engine)
    command.downgrade(config, "-1")
    try:
        report = checked(rig)
    finally:
        command.upgrade(config, "head")

    assert found(report) == {"schema": ["alembic_version"]}
    assert len(report.checks) == 1


def test_a_job_as_its_readers_see_it_is_whole_but_for_its_texts(rig: Rig) -> None:
    """Rows that tests make by hand are held to the same rules."""
    a_published_job(rig.database, LocalStore(rig.settings.artifact_dir), gate={"status": "failed"})

    assert found(checked(rig)).keys() <= {"fences", "supervision"}
