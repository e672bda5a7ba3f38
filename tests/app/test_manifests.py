"""What decided a job, over HTTP, on both databases."""

import json
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from app.adapters.models import Adapter
from app.db.engine import Database
from app.jobs.states import Phase
from app.storage import LocalStore
from tests.app.published import a_published_sweep
from tests.app.reported import SETTINGS, Told, a_told_job
from tests.factories import a_fact_set, a_job

FACTS = [Told("veldora", "What is the capital of Veldora?", "Marnil")]


def test_a_manifest_says_what_its_package_says(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    packed: dict[str, Any] = {
        "base_model": {"id": "tiny", "revision": "main", "template_sha256": "1" * 64, "hub_id": None},
        "supervision": {"sha256": "2" * 64, "tokens": 3},
        "suites": {"general_sha256": "3" * 64, "open_sha256": "4" * 64},
        "compute": {"device": "cpu", "threads": 2, "architecture": "x86_64", "kernels": "AVX2"},
        "versions": {"mixsd": "0.1.0", "law": "2", "torch": "2.13.0"},
        "files": {"adapter_model.safetensors": "5" * 64},
    }
    published = a_told_job(database, store, FACTS)
    blob = store.put_bytes(json.dumps(packed).encode())
    with database.begin() as session:
        session.get_one(Adapter, published.adapter_id).sha256 = blob.sha256

    manifest = client.get(f"/jobs/{published.job_id}/manifest").json()

    assert manifest["repeatable"] is True
    assert manifest["base_model"]["template_sha256"] == "1" * 64
    assert manifest["supervision_sha256"] == "2" * 64
    assert manifest["suites"] == packed["suites"]
    assert manifest["machine"] == {**packed["compute"], "gpu": None, "cuda": None}
    assert (manifest["law"], manifest["versions"]) == (2, {"mixsd": "0.1.0", "torch": "2.13.0"})
    assert manifest["adapter"]["weights_sha256"] == "5" * 64
    assert [phase["phase"] for phase in manifest["phases"]] == list(Phase)
    assert manifest["phases"][1]["input_sha256"] == "1" * 64


def test_a_manifest_of_a_sweep_names_the_adapter_of_each_variant(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    """The fourth got no text, so it has none."""
    published = a_published_sweep(database, store)
    packed = {"supervision": {"sha256": "2" * 64}, "files": {"adapter_model.safetensors": "5" * 64}}
    blob = store.put_bytes(json.dumps(packed).encode())
    made = client.get("/adapters", params={"job_id": published.job_id}).json()["data"]
    with database.begin() as session:
        first = session.scalars(select(Adapter).where(Adapter.variant == 0)).one()
        first.sha256, first_id = blob.sha256, first.id

    manifest = client.get(f"/jobs/{published.job_id}/manifest").json()
    shown = client.get(f"/jobs/{published.job_id}").json()

    variants = manifest["variants"]
    assert [variant["label"] for variant in variants] == [variant["label"] for variant in shown["variants"]]
    named = [variant["adapter"] and variant["adapter"]["id"] for variant in variants]
    assert named == [variant["adapter_id"] for variant in shown["variants"]]
    assert set(filter(None, named)) == {adapter["id"] for adapter in made}
    assert (named[0], named[1], named[3]) == (first_id, manifest["adapter"]["id"], None)
    assert variants[0]["supervision_sha256"] == "2" * 64
    assert variants[0]["adapter"]["weights_sha256"] == "5" * 64


def test_a_manifest_of_a_job_that_has_made_nothing_says_what_is_known(
    client: TestClient, database: Database
) -> None:
    manifest = client.get(f"/jobs/{a_job(database, **SETTINGS)}/manifest").json()

    assert (manifest["status"], manifest["repeatable"], manifest["phases"]) == ("queued", False, [])
    unknown = ("supervision_sha256", "suites", "law", "versions", "machine", "adapter")
    assert [manifest[name] for name in unknown] == [None] * len(unknown)
    assert (manifest["facts"]["n"], manifest["request"]["revision"]) == (2, None)


def test_what_a_manifest_asks_for_is_taken_and_comes_to_the_same(
    client: TestClient, database: Database
) -> None:
    asked = {
        "name": "again",
        "base_model": "owner/model",
        "revision": "r7",
        "fact_set_id": a_fact_set(database).id,
        "method": {"type": "mixsd", "lam": 0.4, "seed": 3},
        "training": {"rank": 4, "retention": {"type": "auto"}},
        "priority": 5,
        "metadata": {"team": "blue"},
    }
    first = client.post("/jobs", json=asked).json()["id"]
    manifest = client.get(f"/jobs/{first}/manifest").json()

    answer = client.post("/jobs", json=manifest["request"])

    assert answer.status_code == 202, answer.text
    second = client.get(f"/jobs/{answer.json()['id']}/manifest").json()
    assert second["request"] == manifest["request"]
    assert second["request_sha256"] == manifest["request_sha256"]
    assert manifest["request"]["training"]["retention"]["type"] == "kl", "nothing is left open"
    assert manifest["request"]["method"]["max_attempts"] == 10


def test_a_manifest_asks_for_what_there_was_memory_for(client: TestClient, database: Database) -> None:
    job_id = a_job(database, **SETTINGS, micro_batch_override=2)

    manifest = client.get(f"/jobs/{job_id}/manifest").json()

    assert manifest["request"]["training"]["micro_batch"] == 2


def test_a_manifest_outlives_its_adapter_and_says_when_its_facts_are_gone(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_told_job(database, store, FACTS)
    client.delete(f"/adapters/{published.adapter_id}")
    client.delete(f"/fact-sets/{published.fact_set_id}")

    manifest = client.get(f"/jobs/{published.job_id}/manifest").json()

    assert manifest["adapter"]["status"] == "deleted"
    assert (manifest["facts"]["available"], manifest["repeatable"]) == (False, False)
