"""Projects and their keys over HTTP."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import access
from app.access import Scope
from app.db.engine import Database
from app.jobs.states import JobStatus
from app.projects import errors
from app.projects.models import DEFAULT_PROJECT
from app.settings import AuthMode, Settings
from tests.app.keys import a_client, a_key
from tests.factories import a_fact_set, a_job

NO_QUOTAS = dict.fromkeys(("running_jobs", "queued_jobs", "gpu_seconds", "stored_bytes"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


@pytest.fixture
def operator(api: FastAPI, database: Database) -> TestClient:
    return a_client(api, a_key(database).secret)


@pytest.fixture
def admin(api: FastAPI, database: Database) -> TestClient:
    """Of a project that is not the operators'."""
    return a_client(api, a_key(database, "search").secret)


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def the_id(client: TestClient) -> str:
    return str(client.get("/quota").json()["project_id"])


def test_an_operator_makes_changes_and_deletes_projects(operator: TestClient) -> None:
    quotas = {"running_jobs": 1, "stored_bytes": 0}

    created = operator.post("/projects", json={"name": "search", "quotas": quotas})

    assert created.status_code == 201
    project = created.json()
    assert project == {
        "id": project["id"],
        "name": "search",
        "quotas": NO_QUOTAS | quotas,
        "created_at": project["created_at"],
    }
    path = created.headers["Location"]
    assert operator.get(path).json() == project
    changed = operator.patch(path, json={"quotas": {"queued_jobs": 5, "running_jobs": None}})
    assert changed.json()["quotas"] == NO_QUOTAS | {"queued_jobs": 5, "stored_bytes": 0}
    assert operator.patch(path, json={"name": "find"}).json()["name"] == "find"
    assert operator.patch(path, json={}).json() == operator.get(path).json()
    assert operator.delete(path).status_code == 204
    assert code_of(operator.get(path)) == (404, "project_not_found")
    assert code_of(operator.delete(path)) == (404, "project_not_found")
    assert operator.post("/projects", json={"name": "find"}).status_code == 201


def test_a_project_that_is_asked_for_again_is_made_once(operator: TestClient) -> None:
    body, key = {"name": "search", "quotas": {"running_jobs": 2}}, {"Idempotency-Key": "one"}

    first, second = (operator.post("/projects", json=body, headers=key) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.json()["quotas"]["running_jobs"] == 2
    assert second.headers["Location"] == first.headers["Location"]
    assert (first.headers.get("Idempotency-Replayed"), second.headers["Idempotency-Replayed"]) == (
        None,
        "true",
    )
    assert operator.get(first.headers["Location"]).json() == first.json()
    taken = operator.post("/projects", json={"name": "search"}, headers={"Idempotency-Key": "two"})
    assert code_of(taken) == (409, "project_name_taken")


def test_two_projects_never_have_one_name(operator: TestClient) -> None:
    path = operator.post("/projects", json={"name": "a"}).headers["Location"]
    other = operator.post("/projects", json={"name": "b"}).headers["Location"]

    assert code_of(operator.post("/projects", json={"name": "a"})) == (409, "project_name_taken")
    assert code_of(operator.patch(other, json={"name": "a"})) == (409, "project_name_taken")
    assert operator.patch(path, json={"name": "a"}).status_code == 200


def test_projects_are_listed_page_by_page(operator: TestClient) -> None:
    made = {operator.post("/projects", json={"name": f"p{n}"}).json()["id"] for n in range(3)}
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = operator.get("/projects", params={"limit": 1, **cursor}).json()
        found += [project["id"] for project in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert sorted(found) == sorted({*made, DEFAULT_PROJECT})


def test_the_default_project_stays(operator: TestClient) -> None:
    assert code_of(operator.delete(f"/projects/{DEFAULT_PROJECT}")) == (409, "default_project")


def test_a_project_with_open_jobs_is_not_deleted(
    operator: TestClient, admin: TestClient, database: Database
) -> None:
    project_id = the_id(admin)
    fact_set = a_fact_set(database, project_id=project_id)  # type: ignore[arg-type]
    job_id = a_job(database, fact_set.id, project_id=project_id)

    assert code_of(operator.delete(f"/projects/{project_id}")) == (409, "project_in_use")
    assert admin.post(f"/jobs/{job_id}/cancel").json()["status"] == JobStatus.CANCELLED
    assert operator.delete(f"/projects/{project_id}").status_code == 204
    assert code_of(admin.get("/jobs")) == (401, "revoked_api_key")
    assert code_of(
        operator.post("/api-keys", json={"name": "k", "scopes": ["read"], "project_id": project_id})
    ) == (
        404,
        "project_not_found",
    )


def test_an_admin_knows_its_own_project_alone(admin: TestClient, operator: TestClient) -> None:
    own = the_id(admin)

    assert [project["id"] for project in admin.get("/projects").json()["data"]] == [own]
    assert admin.get(f"/projects/{own}").json()["name"] == "search"
    assert code_of(admin.get(f"/projects/{DEFAULT_PROJECT}")) == (404, "project_not_found")
    assert code_of(admin.patch(f"/projects/{DEFAULT_PROJECT}", json={})) == (404, "project_not_found")
    assert code_of(admin.delete(f"/projects/{DEFAULT_PROJECT}")) == (404, "project_not_found")


def test_an_admin_does_not_raise_its_own_quotas(admin: TestClient) -> None:
    own = the_id(admin)

    for answer in (
        admin.post("/projects", json={"name": "mine"}),
        admin.patch(f"/projects/{own}", json={"quotas": {"running_jobs": 99}}),
        admin.delete(f"/projects/{own}"),
    ):
        assert code_of(answer) == (403, "operator_only")


def test_an_admin_makes_keys_for_its_project(api: FastAPI, admin: TestClient) -> None:
    created = admin.post("/api-keys", json={"name": "nightly", "scopes": ["write", "read", "read"]})

    assert created.status_code == 201
    key = created.json()
    assert key["secret"].startswith(f"{key['prefix']}_")
    assert key["project_id"] == the_id(admin)
    assert key["scopes"] == ["read", "write"]
    assert (key["expires_at"], key["last_used_at"], key["revoked_at"]) == (None, None, None)
    shown = {name: value for name, value in key.items() if name != "secret"}
    assert admin.get(created.headers["Location"]).json() == shown
    assert shown in admin.get("/api-keys").json()["data"]
    assert the_id(a_client(api, key["secret"])) == key["project_id"]


def test_a_key_is_changed_and_takes_effect_at_once(api: FastAPI, admin: TestClient) -> None:
    body = {"name": "k", "scopes": ["read"], "expires_at": "2999-01-01T00:00:00Z"}
    created = admin.post("/api-keys", json=body)
    path, client = created.headers["Location"], a_client(api, created.json()["secret"])
    assert code_of(client.get("/api-keys")) == (403, "missing_scope")

    changed = admin.patch(path, json={"scopes": ["admin"]}).json()

    assert (changed["name"], changed["scopes"], changed["expires_at"]) == ("k", ["admin"], body["expires_at"])
    assert client.get("/api-keys").status_code == 200
    assert code_of(client.get("/jobs")) == (403, "missing_scope")
    assert admin.patch(path, json={"expires_at": None}).json()["expires_at"] is None


def test_an_operator_makes_keys_for_any_project_and_sees_them(
    api: FastAPI, operator: TestClient, admin: TestClient
) -> None:
    own = the_id(admin)
    created = operator.post("/api-keys", json={"name": "k", "scopes": ["read"], "project_id": own}).json()

    assert the_id(a_client(api, created["secret"])) == own
    assert created["id"] in {key["id"] for key in operator.get(f"/api-keys?project_id={own}").json()["data"]}
    assert {key["project_id"] for key in operator.get("/api-keys").json()["data"]} == {DEFAULT_PROJECT}
    assert operator.delete(f"/api-keys/{created['id']}").status_code == 204
    body = {"name": "k", "scopes": ["read"], "project_id": DEFAULT_PROJECT}
    assert code_of(admin.post("/api-keys", json=body)) == (404, "project_not_found")
    assert admin.get(f"/api-keys?project_id={DEFAULT_PROJECT}").json()["data"] == []


def test_to_revoke_twice_changes_nothing(admin: TestClient) -> None:
    path = admin.post("/api-keys", json={"name": "k", "scopes": ["read"]}).headers["Location"]

    assert admin.delete(path).status_code == 204
    first = admin.get(path).json()["revoked_at"]
    assert admin.delete(path).status_code == 204

    assert first is not None
    assert admin.get(path).json()["revoked_at"] == first


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"name": ""}, "too_short", "/name"),
        ({"name": "x" * 101}, "too_long", "/name"),
        ({"scopes": []}, "too_short", "/scopes"),
        ({"scopes": ["root"]}, "unknown_value", "/scopes/0"),
        ({"scopes": "read"}, "wrong_type", "/scopes"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expiry_in_the_past", "/expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "bad_format", "/expires_at"),
        ({"expires_at": "soon"}, "bad_format", "/expires_at"),
        ({"project_id": "x" * 41}, "too_long", "/project_id"),
        ({"sha256": "0" * 64}, "unknown_field", "/sha256"),
        ({"revoked_at": None}, "unknown_field", "/revoked_at"),
    ],
)
def test_a_bad_key_is_refused_with_its_place(
    operator: TestClient, change: dict[str, Any], code: str, pointer: str
) -> None:
    answer = operator.post("/api-keys", json={"name": "k", "scopes": ["read"]} | change)

    assert answer.status_code == 422
    assert [(error["code"], error["pointer"]) for error in answer.json()["errors"]] == [(code, pointer)]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "missing_field", "/name"),
        ({"name": "p", "quotas": {"running_jobs": -1}}, "out_of_range", "/quotas/running_jobs"),
        ({"name": "p", "quotas": {"gpu_seconds": 2**60}}, "out_of_range", "/quotas/gpu_seconds"),
        ({"name": "p", "quotas": {"gpu_seconds": "1"}}, "wrong_type", "/quotas/gpu_seconds"),
        ({"name": "p", "quotas": {"gpus": 1}}, "unknown_field", "/quotas/gpus"),
        ({"name": "p", "id": "prj_1"}, "unknown_field", "/id"),
    ],
)
def test_a_bad_project_is_refused_with_its_place(
    operator: TestClient, body: dict[str, Any], code: str, pointer: str
) -> None:
    answer = operator.post("/projects", json=body)

    assert answer.status_code == 422
    assert [(error["code"], error["pointer"]) for error in answer.json()["errors"]] == [(code, pointer)]


def test_the_last_key_of_a_project_can_be_replaced_from_the_command_line(
    api: FastAPI, database: Database, admin: TestClient
) -> None:
    (key,) = admin.get("/api-keys").json()["data"]
    assert admin.delete(f"/api-keys/{key['id']}").status_code == 204
    assert code_of(admin.get("/api-keys")) == (401, "revoked_api_key")

    again = a_client(api, a_key(database, "search", scopes=[Scope.ADMIN]).secret)

    assert len(again.get("/api-keys").json()["data"]) == 2


@pytest.mark.parametrize("module", [access, errors], ids=["access", "projects"])
def test_every_code_is_documented(module: ModuleType) -> None:
    page = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
    found = {getattr(kind, "code", None) for kind in vars(module).values() if isinstance(kind, type)}
    codes = {code for code in found if isinstance(code, str)}

    assert len(codes) >= 6
    assert {code for code in codes if f"`{code}`" not in page} == set()
