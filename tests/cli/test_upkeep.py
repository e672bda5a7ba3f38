"""`mixsd fsck` as a command: what it prints, and the status it ends with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import migrations
from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.settings import Settings
from app.storage import LocalStore
from mixsd.cli import cli
from mixsd.cli.child import free_port


def mixsd(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    engine = make_engine(Settings(data_dir=folder).database)
    migrations.upgrade(engine)
    engine.dispose()
    return folder


def break_it(data: Path) -> str:
    """Leave a job that says it has events, and has none."""
    from tests.factories import a_job  # noqa: PLC0415

    database = Database(make_engine(Settings(data_dir=data).database))
    job_id = a_job(database, event_seq=2)
    database.engine.dispose()
    return job_id


def test_a_whole_service_ends_with_0(data: Path) -> None:
    LocalStore(data / "artifacts").put_bytes(b"new")

    shown, document = mixsd("fsck", "--data", str(data)), mixsd("fsck", "--data", str(data), "--json")

    assert (shown.exit_code, document.exit_code) == (0, 0), shown.output
    assert "everything is whole" in shown.stdout
    assert json.loads(document.stdout)["ok"] is True


def test_what_is_wrong_is_shown_with_what_to_do_and_ends_with_1(data: Path) -> None:
    job_id = break_it(data)

    shown, document = mixsd("fsck", "--data", str(data)), mixsd("fsck", "--data", str(data), "--json")

    assert (shown.exit_code, document.exit_code) == (1, 1)
    assert job_id in shown.stdout
    assert "do:" in shown.stdout
    report = json.loads(document.stdout)
    assert report["ok"] is False
    (problem,) = [problem for check in report["checks"] for problem in check["problems"]]
    assert problem.keys() == {"object", "what", "do"}
    assert problem["object"] == job_id


def test_without_a_database_it_ends_with_2_and_makes_none(tmp_path: Path) -> None:
    result = mixsd("fsck", "--data", str(tmp_path / "nowhere"))

    assert result.exit_code == 2
    assert "there is no database" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_database_out_of_reach_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+psycopg://nobody:secret@127.0.0.1:{free_port()}/none"
    monkeypatch.setenv("MIXSD_DATABASE_URL", url)

    result = mixsd("fsck", "--data", str(tmp_path))

    assert result.exit_code == 2
    assert "does not answer" in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.output
