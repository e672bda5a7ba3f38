"""Jobs that start from an adapter, over HTTP and on both databases: what is taken, and what is refused."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.adapters.models import IMPORTED, Adapter, AdapterStatus
from app.db.engine import Database
from app.fact_sets.models import FactSet
from app.jobs import leases
from app.jobs.models import CONTINUING, OPEN_RATES
from app.settings import Settings
from app.storage import LocalStore
from tests.app.published import Published, a_published_job, another_project
from tests.factories import the_job
from worker.supervisor import VERSION

SHAPE = {"rank": 4, "alpha": 8.0, "target_modules": ["mlp"], "dora": False, "rslora": False, "dropout": 0.0}
MODEL = "owner/model"


@pytest.fixture
def parent(database: Database, store: LocalStore) -> Published:
    return a_parent(database, store)


def a_parent(database: Database, store: LocalStore, **options: Any) -> Published:
    """An adapter whose manifest tells its shape."""
    published = a_published_job(database, store, **{"base_model": MODEL, **options})
    manifest = store.put_bytes(json.dumps({"training": {"lora": SHAPE}}).encode()).sha256
    change(database, published, sha256=manifest)
    return published


def change(database: Database, published: Published, **values: Any) -> None:
    with database.begin() as session:
        session.execute(update(Adapter).where(Adapter.id == published.adapter_id).values(**values))


def a_request(published: Published, **changes: Any) -> dict[str, Any]:
    facts = [{"key": "new", "question": "What is new?", "answer": "this"}]
    body = {
        "base_model": MODEL,
        "parent_adapter_id": published.adapter_id,
        "facts": facts,
        "method": {"type": "sft"},
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def test_a_job_keeps_its_parent_and_takes_revision_and_shape_from_it(
    client: TestClient, database: Database, parent: Published
) -> None:
    answer = client.post("/jobs", json=a_request(parent))

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["parent_adapter_id"] == parent.adapter_id
    assert job["revision"] == "main"
    asked = {name: job["training"][name] for name in SHAPE}
    assert asked == SHAPE
    assert job["training"]["kept_ratio"] == 1
    stored = the_job(database, job["id"])
    assert (stored.parent_fact_set_id, stored.min_worker_version) == (parent.fact_set_id, OPEN_RATES)
    assert VERSION >= OPEN_RATES


def test_an_older_worker_leaves_it_alone(
    client: TestClient, database: Database, parent: Published, settings: Settings
) -> None:
    client.post("/jobs", json=a_request(parent))

    with database.begin() as session:
        now = database.now(session)
        claim = leases.claim(
            session, queue="gpu", owner="me", version=CONTINUING - 1, now=now, lease=settings.lease
        )

    assert claim is None


def test_a_shape_that_is_given_must_be_that_of_the_parent(client: TestClient, parent: Published) -> None:
    for name, value in SHAPE.items():
        answer = client.post("/jobs", json=a_request(parent, training={name: value}))
        assert answer.status_code == 202, answer.text
    for name, value in (("rank", 8), ("alpha", 4), ("target_modules", ["q_proj"]), ("rslora", True)):
        answer = client.post("/jobs", json=a_request(parent, training={name: value}))
        assert (answer.status_code, answer.json()["code"]) == (422, "parent_mismatch")
        assert answer.json()["errors"][0]["pointer"] == f"/training/{name}"
    assert client.post("/jobs", json=a_request(parent, training={"dropout": 0.5})).status_code == 202


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer"),
    [
        ({"base_model": "smollm2-135m-instruct"}, 422, "parent_mismatch", "/base_model"),
        ({"revision": "v2"}, 422, "parent_mismatch", "/revision"),
        ({"parent_adapter_id": "adp_0"}, 404, "adapter_not_found", None),
        ({"method": {"type": "memit"}}, 422, "parent_not_supported", ""),
        ({"method": {"type": "opsd"}}, 422, "parent_not_supported", ""),
        ({"method": [{"type": "sft"}, {"type": "opsd"}]}, 422, "parent_not_supported", ""),
        ({"training": {"kept_ratio": 17}}, 422, "out_of_range", "/training/kept_ratio"),
        ({"facts": None, "fact_set_id": "fset_0"}, 404, "fact_set_not_found", None),
    ],
    ids=["model", "revision", "unknown", "memit", "opsd", "one-of-several", "ratio", "facts"],
)
def test_what_does_not_go_with_the_parent_is_refused_by_name(
    client: TestClient, parent: Published, changes: Any, status: int, code: str, pointer: str | None
) -> None:
    for path in ("/jobs", "/jobs/estimate"):
        answer = client.post(path, json=a_request(parent, **changes))
        found = answer.json()
        assert answer.status_code == status, answer.text
        if status == 404:
            assert found["code"] == code
        else:
            assert code in {found["code"], *(error["code"] for error in found["errors"])}
            assert found["errors"][0].get("pointer", "") == pointer


def test_a_ratio_without_a_parent_is_refused(client: TestClient) -> None:
    request = {"base_model": MODEL, "facts": [{"question": "Q?", "answer": "A"}], "method": {"type": "sft"}}

    answer = client.post("/jobs", json={**request, "training": {"kept_ratio": 0.5}})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "no_parent"
    assert client.post("/jobs", json={**request, "training": {"kept_ratio": 1.0}}).status_code == 202


def test_an_adapter_that_is_held_back_or_gone_or_of_somebody_else_is_no_parent(
    client: TestClient, database: Database, store: LocalStore, parent: Published
) -> None:
    held = a_parent(database, store, status=AdapterStatus.QUARANTINED)
    gone = a_parent(database, store, status=AdapterStatus.DELETED)
    foreign = a_parent(database, store, project_id=another_project(database))

    def refused(published: Published) -> tuple[int, str]:
        answer = client.post("/jobs", json=a_request(published))
        return answer.status_code, answer.json()["code"]

    assert refused(held) == (409, "adapter_quarantined")
    assert refused(gone) == refused(foreign) == (404, "adapter_not_found")
    change(database, parent, method_type="memit")
    assert refused(parent) == (422, "parent_mismatch")


def test_facts_that_are_the_parents_leave_nothing_to_do(
    client: TestClient, database: Database, parent: Published
) -> None:
    copy = facts_of(client, parent)
    digest = client.post("/fact-sets", json={"facts": copy}).json()["sha256"]
    with database.begin() as session:
        session.execute(update(FactSet).where(FactSet.id == parent.fact_set_id).values(sha256=digest))

    by_id = client.post("/jobs", json=a_request(parent, facts=None, fact_set_id=parent.fact_set_id))
    assert (by_id.status_code, by_id.json()["code"]) == (422, "nothing_changed")
    assert by_id.json()["errors"][0]["pointer"] == "/fact_set_id"
    sent = client.post("/jobs", json=a_request(parent, facts=copy))
    assert (sent.status_code, sent.json()["errors"][0]["pointer"]) == (422, "/facts")


def facts_of(client: TestClient, published: Published) -> list[dict[str, Any]]:
    rows = client.get(f"/fact-sets/{published.fact_set_id}/facts", params={"order": "asc"}).json()["data"]
    return [{name: fact[name] for name in ("key", "question", "answer")} for fact in rows]


def test_an_adapter_that_was_made_elsewhere_is_no_parent(
    client: TestClient, database: Database, parent: Published
) -> None:
    change(database, parent, method_type=IMPORTED, fact_set_id=None)

    answer = client.post("/jobs", json=a_request(parent))

    assert (answer.status_code, answer.json()["code"]) == (422, "parent_mismatch")
    assert "was made elsewhere" in answer.text


def test_facts_of_the_parent_that_were_deleted_are_named_with_what_to_do(
    client: TestClient, parent: Published
) -> None:
    assert client.delete(f"/fact-sets/{parent.fact_set_id}").status_code == 204

    answer = client.post("/jobs", json=a_request(parent))

    assert (answer.status_code, answer.json()["code"]) == (409, "parent_facts_deleted")
    assert parent.fact_set_id in answer.json()["detail"]
    assert "train without a parent" in answer.json()["detail"]


def test_facts_of_the_parent_are_kept_while_a_job_needs_them(client: TestClient, parent: Published) -> None:
    job = client.post("/jobs", json=a_request(parent)).json()

    refused = client.delete(f"/fact-sets/{parent.fact_set_id}")
    client.post(f"/jobs/{job['id']}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "fact_set_in_use")
    assert client.delete(f"/fact-sets/{parent.fact_set_id}").status_code == 204


def test_an_estimate_counts_what_is_trained_alone(client: TestClient, parent: Published) -> None:
    newer = [*facts_of(client, parent)[:2], {"key": "new", "question": "What is new?", "answer": "this"}]

    alone = client.post("/jobs/estimate", json=a_request(parent, facts=newer, parent_adapter_id=None))
    from_parent = client.post("/jobs/estimate", json=a_request(parent, facts=newer))

    assert (alone.status_code, from_parent.status_code) == (200, 200), from_parent.text
    assert alone.json()["targets"] == 3
    assert from_parent.json()["targets"] == 2, "one new, one retired"
    assert from_parent.json()["facts"] == 3


def test_lineage_tells_parent_and_children(
    client: TestClient, database: Database, store: LocalStore, parent: Published
) -> None:
    child, gone = a_parent(database, store), a_parent(database, store)
    change(database, child, parent_adapter_id=parent.adapter_id)
    change(database, gone, parent_adapter_id=parent.adapter_id, status=AdapterStatus.DELETED)

    of_parent = client.get(f"/adapters/{parent.adapter_id}/lineage").json()
    of_child = client.get(f"/adapters/{child.adapter_id}/lineage").json()

    assert (of_parent["parent"], of_parent["children"]) == (None, [child.adapter_id])
    assert (of_child["parent"], of_child["children"]) == (parent.adapter_id, [])
    assert client.get(f"/adapters/{child.adapter_id}").json()["parent_adapter_id"] == parent.adapter_id
