"""The audit trail: one entry for each request of some kinds, whatever came of it, and none of others."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from app.access import Scope
from app.adapters.models import AdapterStatus
from app.audit.models import AuditEntry
from app.audit.trail import AUDITED
from app.db.engine import Database
from app.ids import ProjectId
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.hooks import a_delivered_webhook
from tests.app.keys import a_client, a_key
from tests.app.published import a_published_job, an_export
from tests.factories import a_fact_set, a_job


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


@pytest.fixture
def admin(api: FastAPI, database: Database) -> TestClient:
    return a_client(api, a_key(database).secret)


def trail(client: TestClient, **query: str) -> list[dict[str, Any]]:
    answer = client.get("/audit", params={"order": "asc", "limit": 100, **query})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str | None, int]]:
    return [(entry["action"], entry["target"], entry["status"]) for entry in entries]


BODIES: dict[str, dict[str, Any]] = {
    "create_project": {"name": "search"},
    "update_project": {"name": "find"},
    "create_api_key": {"name": "ci", "scopes": ["read"]},
    "update_api_key": {"name": "other"},
    "create_webhook": {"url": "https://hooks.example.com/x", "events": ["*"]},
    "update_webhook": {"enabled": False},
}


@pytest.mark.parametrize("action", sorted(AUDITED))
def test_each_operation_of_the_trail_leaves_one_entry(
    api: FastAPI, database: Database, store: LocalStore, admin: TestClient, action: str
) -> None:
    made = a_published_job(database, store, status=AdapterStatus.READY)
    key = a_key(database)
    ids = {
        "project_id": a_key(database, "ours").project_id,
        "key_id": key.id,
        "job_id": a_job(database),
        "adapter_id": made.adapter_id,
        "fact_set_id": a_fact_set(database).id,
        "export_id": an_export(database, store, made),
        "file_id": "file-0",
        "model": made.adapter_id,
        **a_delivered_webhook(database, ProjectId(key.project_id)),
    }
    method, template = AUDITED[action]
    path = template.replace("{path:path}", "README.md").format(**ids)

    answer = admin.request(method, path, json=BODIES.get(action))
    (entry,) = trail(admin)

    assert entry["action"] == action
    assert entry["status"] == answer.status_code
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["project_id"], entry["address"]) == ("prj_default", "10.0.0.1")
    assert entry["key_id"].startswith("key_")
    named = re.findall(r"{(\w+)", template)
    assert entry["target"] == (
        "/".join(ids.get(name, "README.md") for name in named) or answer.json().get("id")
    )


def test_the_trail_holds_what_is_named_and_all_of_its_kind(api: FastAPI) -> None:
    operations = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, item in api.openapi()["paths"].items()
        for method, operation in item.items()
    }

    for action, (method, template) in AUDITED.items():
        assert operations[action][:2] == (method, template.replace(":path", "")), action
    for name, (method, _, operation) in operations.items():
        administers = operation["security"] == [{"apiKey": ["admin"]}] and method != "GET"
        if method == "DELETE" or administers:
            assert name in AUDITED, name


def test_what_is_refused_is_told_and_by_whom(api: FastAPI, database: Database, admin: TestClient) -> None:
    reader = a_key(database, scopes=[Scope.READ])
    client = a_client(api, reader.secret)

    forbidden = client.delete("/jobs/job_0")
    missing = admin.delete("/jobs/job_0")
    stranger = a_client(api, "mixsd_nobody").delete("/jobs/job_0")
    entries = trail(admin)

    assert [a.status_code for a in (forbidden, missing, stranger)] == [403, 404, 401]
    assert told(entries) == [("delete_job", "job_0", 403), ("delete_job", "job_0", 404)]
    assert entries[0]["key_id"] == reader.id


def test_reading_leaves_no_entry(admin: TestClient, database: Database) -> None:
    job_id = a_job(database)

    admin.get(f"/jobs/{job_id}")
    admin.get("/api-keys")
    admin.get("/adapters")

    assert trail(admin) == []


def test_projects_see_their_own_and_operators_those_of_others(
    api: FastAPI, database: Database, admin: TestClient
) -> None:
    theirs = a_key(database, "theirs")
    client = a_client(api, theirs.secret)
    client.delete("/jobs/job_0")
    admin.delete("/jobs/job_1")

    assert told(trail(client)) == [("delete_job", "job_0", 404)]
    assert trail(client, project_id="prj_default") == []
    assert told(trail(admin)) == [("delete_job", "job_1", 404)]
    assert told(trail(admin, project_id=str(theirs.project_id))) == [("delete_job", "job_0", 404)]
    assert trail(admin, action="cancel_job") == []


def test_the_trail_takes_an_admin_key(api: FastAPI, database: Database) -> None:
    client = a_client(api, a_key(database, scopes=[Scope.READ, Scope.WRITE]).secret)

    assert client.get("/audit").status_code == 403


def test_no_entry_can_be_changed(admin: TestClient, database: Database) -> None:
    admin.delete("/jobs/job_0")

    with pytest.raises(SQLAlchemyError, match="audit_entries_stay"), database.begin() as session:
        session.execute(update(AuditEntry).values(status=200))

    assert told(trail(admin)) == [("delete_job", "job_0", 404)]


def test_a_long_or_strange_target_is_cut(admin: TestClient) -> None:
    admin.delete(f"/jobs/{'x' * 5000}")
    admin.delete("/jobs/%00job")

    assert [len(entry["target"]) for entry in trail(admin)] == [200, 3]
