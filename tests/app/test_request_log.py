"""One line for each request, and the lines of libraries in the same form."""

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import log
from app.db.engine import Database
from app.settings import AuthMode, Settings
from tests.app.keys import a_client, a_key

on_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def finished(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [line for line in lines(capsys) if line["event"] == "request.finished"]


@on_sqlite
def test_a_request_is_one_line_with_who_and_what_and_nothing_that_is_secret(
    api: FastAPI, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(json=True)
    key = a_key(database, "ours")
    client = a_client(api, key.secret)

    answer = client.get("/jobs/job_0", params={"token": "hunter2"})

    (line,) = finished(capsys)
    assert {name: line[name] for name in ("method", "route", "status", "level")} == {
        "method": "GET",
        "route": "/jobs/{job_id}",
        "status": 404,
        "level": "info",
    }
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert (line["project_id"], line["key_id"]) == (key.project_id, key.id)
    assert line["seconds"] >= 0
    assert "hunter2" not in json.dumps(line)
    assert key.secret not in json.dumps(line)


@on_sqlite
def test_a_bug_and_a_refusal_are_lines_too(
    api: FastAPI, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    @api.get("/bug")
    def bug() -> None:
        raise RuntimeError("no")

    log.configure(json=True)
    a_client(api, a_key(database).secret).get("/bug")
    a_client(api).get("/jobs")

    seen = [(line["route"], line["status"], line.get("project_id")) for line in finished(capsys)]
    assert seen == [("/bug", 500, "prj_default"), (None, 401, None)]


@on_sqlite
def test_probes_that_go_well_write_nothing(api: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    client = TestClient(api)

    for path in ("/healthz", "/readyz", "/version"):
        assert client.get(path).status_code == 200

    assert [line["route"] for line in finished(capsys)] == ["/version"]


def test_libraries_write_in_the_same_form_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True, job_id="job_1")

    logging.getLogger("celery.worker").warning("cannot reach %s", "redis://:hunter2@cache/0")
    logging.getLogger("alembic").error("went wrong", exc_info=ValueError("boom"))
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("httpx").info("GET https://elsewhere/?token=hunter2")

    first, second = lines(capsys)
    assert (first["event"], first["logger"], first["level"], first["job_id"]) == (
        "cannot reach redis://:***@cache/0",
        "celery.worker",
        "warning",
        "job_1",
    )
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "went wrong"
    assert "ValueError: boom" in second["exception"]


def test_setting_logs_up_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        log.configure(json=False)

    logging.getLogger("celery").info("once")

    assert capsys.readouterr().err.count("once") == 1


def test_a_migration_is_a_line_and_looking_for_one_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    alembic = logging.getLogger("alembic.runtime.migration")

    alembic.info("Context impl %s.", "SQLiteImpl")
    alembic.info("Running %s %s -> %s", "upgrade", "0001", "0002")

    assert [line["event"] for line in lines(capsys)] == ["Running upgrade 0001 -> 0002"]
