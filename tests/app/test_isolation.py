"""Projects see nothing of each other: every operation of the contract is tried across the border."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.access import Scope
from app.adapters.models import AdapterStatus
from app.contract import contract
from app.db.engine import Database
from app.ids import ProjectId
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from app.web.openai_errors import PREFIX
from app.web.paging import Seal
from tests.app.conversations import a_file, a_line, jsonl
from tests.app.hooks import a_delivered_webhook
from tests.app.keys import a_client, a_key
from tests.app.published import a_log, a_published_job, an_export

CONTRACT: Final[dict[str, Any]] = json.loads(contract())
SCHEMAS: Final = CONTRACT["components"]["schemas"]
OPERATIONS: Final = [
    (method.upper(), path)
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
    if operation["security"]
]

OF_NOBODY: Final = {"model_id", "path"}
"""Parameters that name nothing of a project."""

REFERENCES: Final = {"from": "fact_set_id"}
"""Queries that name something of a project, and which id that is."""

IN_BODIES: Final = {"parent_adapter_id": "adapter_id", "training_file": "file_id", "model": "adapter_id"}
"""Fields of bodies that name something of a project without saying so, and which id that is."""

ASKED: Final = ("/evaluations", "/openai/v1/fine_tuning/jobs", "/openai/v1/chat/completions")
"""Operations whose examples name what is not there."""

ARCHIVES: Final = {"/adapters/import"}
"""Operations that take no JSON; `tests.app.test_imports` tries them with what belongs to others."""

ABOUT_ONESELF: Final = {
    *(("GET", path) for path in ("/metrics", "/queue", "/quota", "/usage", "/workers")),
    ("POST", "/projects"),
}
"""Operations that take no id at all, and whose answer is no list of what a project has."""


@dataclass(frozen=True)
class Team:
    """A project with one of everything."""

    client: TestClient
    ids: dict[str, str]

    def path(self, template: str) -> str:
        return template.format(**self.ids)

    def query(self, method: str, path: str) -> dict[str, str]:
        named = names_in(method, path, "query")
        return {name: self.ids[which] for name, which in REFERENCES.items() if name in named}


def a_team(api: FastAPI, database: Database, store: LocalStore, name: str) -> Team:
    key = a_key(database, name)
    project_id = ProjectId(key.project_id)
    published = a_published_job(
        database,
        store,
        project_id=project_id,
        status=AdapterStatus.QUARANTINED,
        base_model="owner/model",
    )
    a_log(api.state.settings.work_dir, published.job_id)
    ids = {
        "project_id": project_id,
        "key_id": key.id,
        "job_id": published.job_id,
        "adapter_id": published.adapter_id,
        "fact_set_id": published.fact_set_id,
        "evaluation_id": published.evaluation_id,
        "export_id": an_export(database, store, published, project_id=project_id),
        "model_id": "smollm2-135m-instruct",
        "model": published.adapter_id,
        "file_id": a_file(a_client(api, key.secret))["id"],
        "path": "README.md",
        **a_delivered_webhook(database, project_id),
    }
    client = a_client(api, key.secret)
    client.get(f"/adapters/{published.adapter_id}/download")  # leaves an entry in the audit trail
    return Team(client, ids)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


@pytest.fixture
def ours(api: FastAPI, database: Database, store: LocalStore) -> Team:
    return a_team(api, database, store, "ours")


@pytest.fixture
def theirs(api: FastAPI, database: Database, store: LocalStore) -> Team:
    return a_team(api, database, store, "theirs")


def operation_of(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = CONTRACT["paths"][path][method.lower()]
    return found


def names_in(method: str, path: str, place: str) -> list[str]:
    return [p["name"] for p in operation_of(method, path).get("parameters", []) if p["in"] == place]


def body_of(method: str, path: str) -> dict[str, Any] | None:
    """Return an example that the operation takes; None if it has no body."""
    content = operation_of(method, path).get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return None
    schema = content["application/json"]["schema"]
    (name,) = [ref["$ref"].rpartition("/")[2] for ref in (schema, *schema.get("anyOf", [])) if "$ref" in ref]
    example: dict[str, Any] = SCHEMAS[name]["examples"][0]
    return example


def references_in_bodies() -> Iterator[tuple[str, str, str]]:
    for method, path in OPERATIONS:
        content = operation_of(method, path).get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        for name in SCHEMAS.get(reference.rpartition("/")[2], {}).get("properties", {}):
            if name.endswith("_id") or (name in IN_BODIES and path.startswith(PREFIX)):
                yield method, path, name


def code_of(answer: httpx2.Response) -> str:
    """Return the code of a problem, or of an error as OpenAI's clients read it."""
    said = answer.json()
    return str(said["error"]["code"] if "error" in said else said["code"])


def sent(method: str, path: str, team: Team) -> dict[str, Any]:
    """Return what is sent along: an example that names what the team has, or a file."""
    if (method, path) == ("POST", f"{PREFIX}/files"):
        return {"data": {"purpose": "fine-tune"}, "files": {"file": ("more.jsonl", jsonl(a_line("Who?")))}}
    body = body_of(method, path)
    if path in ASKED and body:
        named = {"adapter_id": team.ids["adapter_id"], **{n: team.ids[i] for n, i in IN_BODIES.items()}}
        named["model"] = named["model"] if path.endswith("/completions") else team.ids["model_id"]
        body = body | {name: value for name, value in named.items() if name in body}
    return {"json": body}


def holds_any_of(text: str, team: Team) -> list[str]:
    return [value for name, value in team.ids.items() if name not in OF_NOBODY and value in text]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(method, path, id=f"{method} {path}")
        for method, path in OPERATIONS
        if set(names_in(method, path, "path")) - OF_NOBODY
    ],
)
def test_what_belongs_to_others_does_not_exist(ours: Team, theirs: Team, method: str, path: str) -> None:
    body, query = body_of(method, path), theirs.query(method, path)

    answer = ours.client.request(method, theirs.path(path), params=query, json=body)

    assert answer.status_code == 404, answer.text
    assert code_of(answer).endswith("_not_found")
    missing = path.format(**dict.fromkeys(theirs.ids, "x_0"))
    nothing = ours.client.request(method, missing, params=query, json=body)
    assert code_of(nothing) == code_of(answer)
    if method == "GET":  # and nothing has happened to it
        assert theirs.client.get(theirs.path(path), params=query).status_code in {200, 409}
    if query:
        answer = ours.client.request(method, ours.path(path), params=query, json=body)
        assert (answer.status_code, code_of(answer)[-10:]) == (404, "_not_found"), answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(method, path, id=f"{method} {path}")
        for method, path in OPERATIONS
        if not set(names_in(method, path, "path")) - OF_NOBODY and path not in ARCHIVES
    ],
)
def test_lists_and_answers_hold_nothing_of_others(ours: Team, theirs: Team, method: str, path: str) -> None:
    along = sent(method, path, ours)
    named = [name for name in names_in(method, path, "query") if name.endswith("_id")]
    queries: list[dict[str, str]] = [{}, *({name: theirs.ids[name]} for name in named)]

    for query in queries:
        answer = ours.client.request(method, ours.path(path), params=query, **along)
        held_back = {409} if path.endswith("/completions") else set()
        assert answer.status_code in {200, 201, 202, 403} | held_back, answer.text
        listed = answer.json().get("data", [])
        assert holds_any_of(answer.text, theirs) == []
        if set(query) & set(named):
            assert listed == []
        elif not query and method == "GET" and (method, path) not in ABOUT_ONESELF and "model" not in path:
            assert listed, "one's own is there"


def test_a_cursor_is_of_one_list_of_one_project(ours: Team, theirs: Team, api: FastAPI) -> None:
    def cursor(team: Team, path: str) -> str:
        return Seal(api.state.cursor_secret, f"{team.ids['project_id']} {path}").encode(team.ids["job_id"])

    def asked(cursor: str) -> tuple[int, str | None]:
        answer = ours.client.get("/jobs", params={"cursor": cursor})
        return answer.status_code, answer.json().get("code")

    good = cursor(ours, "/jobs")

    assert asked(good) == (200, None)
    assert asked(cursor(theirs, "/jobs")) == (400, "bad_cursor")
    assert asked(cursor(ours, "/adapters")) == (400, "bad_cursor")
    assert asked(("B" if good[0] == "A" else "A") + good[1:]) == (400, "bad_cursor")
    assert asked(good[:-4]) == (400, "bad_cursor")
    plain = base64.urlsafe_b64encode(ours.ids["job_id"].encode()).decode().rstrip("=")
    assert asked(plain) == (400, "bad_cursor")


@pytest.mark.parametrize(("method", "path", "name"), list(references_in_bodies()), ids=str)
def test_a_body_cannot_name_what_belongs_to_others(
    ours: Team, theirs: Team, method: str, path: str, name: str
) -> None:
    body = sent(method, path, ours)["json"]
    body = body | {name: theirs.ids[IN_BODIES.get(name, name)]}
    if path in {"/jobs", "/jobs/estimate"} and name == "fact_set_id":
        body.pop("facts", None)

    answer = ours.client.request(method, path, json=body)

    assert (answer.status_code, code_of(answer).endswith("_not_found")) == (404, True), answer.text


def test_every_parameter_that_names_something_is_tried(ours: Team) -> None:
    """A new one must be given a value above, or these tests would miss it."""
    named = {
        name
        for method, path in OPERATIONS
        for place in ("path", "query")
        for name in names_in(method, path, place)
        if place == "path" or name.endswith("_id") or name in REFERENCES
    }

    assert named <= ours.ids.keys() | REFERENCES.keys()
    assert {name for _, _, name in references_in_bodies()} == {
        *("adapter_id", "fact_set_id", "project_id"),
        *IN_BODIES,
    }


def test_every_operation_but_the_open_ones_says_what_it_takes() -> None:
    free = {
        path
        for path, item in CONTRACT["paths"].items()
        for operation in item.values()
        if not operation["security"]
    }

    assert free == {"/healthz", "/readyz", "/version"}
    for method, path in OPERATIONS:
        operation = operation_of(method, path)
        assert operation["security"][0]["apiKey"][0] in {"read", "write", "admin"}
        assert {"401", "403", "429"} <= operation["responses"].keys()
    assert CONTRACT["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_without_a_key_no_operation_answers(api: FastAPI, ours: Team) -> None:
    stranger = a_client(api)

    for method, path in OPERATIONS:
        answer = stranger.request(method, ours.path(path))
        assert (answer.status_code, code_of(answer)) == (401, "unauthenticated"), (method, path)


def test_a_key_of_another_scope_opens_no_operation(api: FastAPI, database: Database, ours: Team) -> None:
    clients = {
        needed: a_client(
            api, a_key(database, "ours", [scope for scope in Scope if scope is not needed]).secret
        )
        for needed in Scope
    }

    for method, path in OPERATIONS:
        needed = operation_of(method, path)["security"][0]["apiKey"][0]
        answer = clients[needed].request(method, ours.path(path))
        assert (answer.status_code, code_of(answer)) == (403, "missing_scope"), (method, path)


def test_the_document_that_is_served_is_the_one_that_was_tried(api: FastAPI, tmp_path: Path) -> None:
    assert a_client(api).get("/openapi.json").json() == CONTRACT
