"""Tables and migrations agree, up and down."""

from pathlib import Path

from alembic import command
from sqlalchemy import Engine, inspect, select, text

import migrations
from app.adapters.models import Adapter, AdapterFile
from app.db.engine import Database
from app.ids import AdapterId, CheckpointId, JobId, new_id
from app.jobs.models import Checkpoint, Job, Supervision
from app.jobs.states import JobKind, Phase
from app.storage import LocalStore
from tests.app.published import a_published_job, supervision_of
from tests.factories import NOW, a_job


def test_models_match_the_newest_migration(engine: Engine) -> None:
    command.check(migrations.config_for(engine))


def test_what_refers_to_another_row_is_found_by_an_index(engine: Engine) -> None:
    """So that deleting a row does not cost a look at whole tables."""
    tables = inspect(engine)
    slow = []
    for table in tables.get_table_names():
        firsts = {index["column_names"][0] for index in tables.get_indexes(table)}
        firsts |= {unique["column_names"][0] for unique in tables.get_unique_constraints(table)}
        firsts |= set(tables.get_pk_constraint(table)["constrained_columns"][:1])
        referring = [key["constrained_columns"][0] for key in tables.get_foreign_keys(table)]
        slow += [f"{table}.{column}" for column in referring if column not in firsts]

    assert slow == []


def test_downgrade_leaves_nothing_and_upgrade_brings_it_back(engine: Engine) -> None:
    command.downgrade(migrations.config_for(engine), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]

    migrations.upgrade(engine)
    assert "jobs" in inspect(engine).get_table_names()


def test_a_step_back_and_forth_keeps_the_jobs_only_forward(engine: Engine) -> None:
    command.downgrade(migrations.config_for(engine), "0001_initial")
    migrations.upgrade(engine)

    triggers = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }
    with engine.connect() as connection:
        found = connection.execute(text(triggers[engine.dialect.name])).scalars().all()
    assert sorted(found) == ["audit_entries_stay", "jobs_only_forward"]
    command.check(migrations.config_for(engine))


def test_scores_that_are_there_learn_whether_less_is_better(engine: Engine) -> None:
    config = migrations.config_for(engine)
    command.downgrade(config, "0001_initial")
    with engine.begin() as connection:
        add = "INSERT INTO evaluations (id, project_id, created_at) VALUES ('e', 'prj_default', '2026-11-24')"
        connection.execute(text(add))
        scores = "INSERT INTO scores (evaluation_id, suite, metric, n) VALUES ('e', :suite, :metric, 3)"
        for suite, metric in (("drift", "nats_per_token"), ("recall", "accuracy")):
            connection.execute(text(scores), {"suite": suite, "metric": metric})

    migrations.upgrade(engine)

    with engine.begin() as connection:
        rows = connection.execute(text("SELECT suite, n, base_low, lower_is_better FROM scores")).all()
        connection.execute(text("DELETE FROM evaluations"))
    assert sorted((row[0], row[1], row[2], bool(row[3])) for row in rows) == [
        ("drift", 3, None, True),
        ("recall", 3, None, False),
    ]
    command.check(config)


def test_of_jobs_with_several_variants_the_first_is_kept_on_the_way_back(
    engine: Engine, database: Database
) -> None:
    config = migrations.config_for(engine)
    job_id = a_job(database)
    with database.begin() as session:
        session.add_all([supervision_of(job_id, 0, variant=variant) for variant in (0, 1)])
        for variant in (0, 1):
            session.add(a_checkpoint(job_id, variant))

    command.downgrade(config, "0005_idempotency_keys")
    migrations.upgrade(engine)

    with database.read() as session:
        assert [row.variant for row in session.scalars(select(Supervision))] == [0]
        assert [row.variant for row in session.scalars(select(Checkpoint))] == [0]
    inspector = inspect(engine)
    key = inspector.get_pk_constraint("supervision")["constrained_columns"]
    assert key == ["job_id", "variant", "fact_key", "generation"]
    (unique,) = inspector.get_unique_constraints("checkpoints")
    assert unique["column_names"] == ["job_id", "phase", "variant", "fence", "step"]
    command.check(config)


def test_jobs_that_measure_an_adapter_are_gone_on_the_way_back(engine: Engine, database: Database) -> None:
    """The code before knows no job without a method."""
    kept = a_job(database)
    a_job(database, kind=JobKind.EVALUATION, adapter_id="adp_0", method={})

    command.downgrade(migrations.config_for(engine), "0011_variants")
    migrations.upgrade(engine)

    with database.read() as session:
        assert [(job.id, job.kind) for job in session.scalars(select(Job))] == [(kept, JobKind.TRAINING)]


def a_checkpoint(job_id: JobId, variant: int) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(new_id("ckpt", now=NOW)),
        job_id=job_id,
        phase=Phase.TRAINING,
        variant=variant,
        fence=1,
        step=4,
        input_sha256="i",
        uri="here",
        manifest_sha256="m",
        bytes=1,
        created_at=NOW,
    )


def test_adapters_keep_their_files_when_facts_become_optional(
    engine: Engine, database: Database, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    published = a_published_job(database, store)
    with database.begin() as session:
        job = session.scalars(select(Adapter)).one()
        imported = AdapterId(new_id("adp", now=NOW))
        known = {"project_id": job.project_id, "status": job.status, "base_model": "b", "base_revision": "r"}
        session.add(
            Adapter(
                id=imported, **known, method_type="imported", sha256="0", bytes=0, summary={}, created_at=NOW
            )
        )

    command.downgrade(migrations.config_for(engine), "0012_evaluation_jobs")
    migrations.upgrade(engine)

    with database.read() as session:
        assert [adapter.id for adapter in session.scalars(select(Adapter))] == [published.adapter_id]
        assert len(session.scalars(select(AdapterFile)).all()) > 1
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
