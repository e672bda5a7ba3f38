"""Exports over HTTP, on both databases."""

import io
import tarfile
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.access import QuotaExceededError
from app.adapters.models import IMPORTED, Adapter, AdapterStatus
from app.db.engine import Database
from app.delivery.creating import create_export
from app.delivery.requests import ExportCreate
from app.jobs import leases
from app.jobs.models import EXPORTING
from app.jobs.schemas import JobRead
from app.projects.models import DEFAULT_PROJECT
from app.projects.quotas import Quotas
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.published import EXPORT_FILES, FILES, Published, a_published_job, an_export
from worker.control import Control
from worker.fetching import AdapterDeletedError
from worker.publication import ExportPublication, PublishedFile

PARITY = {"status": "passed", "engine": "transformers", "reasons": [], "asked": 3, "right": 2}


@pytest.fixture
def made(database: Database, store: LocalStore) -> Published:
    """An adapter of a model that may be used."""
    return a_published_job(database, store, base_model="owner/model")


def asked_for(client: TestClient, made: Published, form: str = "merged", **more: Any) -> dict[str, Any]:
    answer = client.post(f"/adapters/{made.adapter_id}/exports", json={"format": form, **more})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    return job


def claimed(database: Database, settings: Settings, version: int = EXPORTING) -> leases.Claim | None:
    with database.begin() as session:
        now = database.now(session)
        return leases.claim(session, queue="gpu", owner="me", version=version, now=now, lease=settings.lease)


def written(database: Database, settings: Settings, store: LocalStore, *, parity: str = "passed") -> None:
    """Do what a worker does with the only job, but for the writing."""
    claim = claimed(database, settings)
    assert claim is not None
    files = [
        PublishedFile(path, blob.sha256, blob.bytes)
        for path, content in EXPORT_FILES.items()
        for blob in [store.put_bytes(content)]
    ]
    (manifest,) = (file.sha256 for file in files if file.path == "manifest.json")
    control = Control(database, claim, work_dir=settings.work_dir, patience=settings.lease)
    control.publish_export(
        ExportPublication("merged", "bfloat16", manifest, PARITY | {"status": parity}, files)
    )


def test_an_export_is_made_by_a_job_of_its_own(
    client: TestClient, made: Published, dispatcher: ListeningDispatcher
) -> None:
    job = asked_for(client, made, name="for the shop", priority=2, metadata={"a": "b"})

    told = {name: job[name] for name in ("kind", "status", "adapter_id", "export", "name", "priority")}
    assert told == {
        "kind": "export",
        "status": "queued",
        "adapter_id": made.adapter_id,
        "export": {"format": "merged"},
        "name": "for the shop",
        "priority": 2,
    }
    assert (job["method"], job["training"], job["variants"]) == (None, None, [])
    assert dispatcher.hints == ["gpu"]
    (only,) = client.get("/jobs", params={"kind": "export"}).json()["data"]
    assert only == job
    assert client.get(f"/adapters/{made.adapter_id}/exports").json()["data"] == []


def test_what_was_written_is_listed_read_and_fetched(
    client: TestClient, database: Database, settings: Settings, store: LocalStore, made: Published
) -> None:
    job = asked_for(client, made)
    written(database, settings, store)

    url = f"/adapters/{made.adapter_id}/exports"
    (export,) = client.get(url, params={"job_id": job["id"]}).json()["data"]
    assert (export["format"], export["status"], export["dtype"]) == ("merged", "ready", "bfloat16")
    assert (export["parity"]["status"], export["parity"]["right"]) == ("passed", 2)
    assert client.get(f"{url}/{export['id']}").json() == export
    files = client.get(f"{url}/{export['id']}/files").json()["data"]
    assert {file["path"]: file["bytes"] for file in files} == {
        path: len(content) for path, content in EXPORT_FILES.items()
    }
    assert client.get(url, params={"job_id": made.job_id}).json()["data"] == []
    ended = client.get(f"/jobs/{job['id']}").json()
    assert (ended["status"], ended["adapter_id"]) == ("succeeded", made.adapter_id)
    events = client.get(f"/jobs/{job['id']}/events").json()["data"]
    assert [event["type"] for event in events][-2:] == ["adapter.exported", "job.succeeded"]
    assert events[-2]["data"]["export_id"] == export["id"]

    archive = client.get(f"{url}/{export['id']}/download")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as packed:
        found = {member.name: packed.extractfile(member) for member in packed}
        assert {name.partition("/")[2]: file.read() for name, file in found.items() if file} == EXPORT_FILES
    assert {name.partition("/")[0] for name in found} == {"export"}


def test_a_file_comes_in_parts_and_is_named_by_its_digest(
    client: TestClient, database: Database, store: LocalStore, made: Published
) -> None:
    export_id = an_export(database, store, made)
    url = f"/adapters/{made.adapter_id}/exports/{export_id}/files/model.safetensors"

    part = client.get(url, headers={"Range": "bytes=10-19"})

    assert (part.status_code, part.content) == (206, EXPORT_FILES["model.safetensors"][10:20])
    whole = client.get(url)
    assert client.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    missing = client.get(f"{url}.old")
    assert (missing.status_code, missing.json()["code"]) == (404, "file_not_found")


@pytest.mark.parametrize("what", ["download", "files/README.md"])
def test_one_that_does_not_say_what_the_adapter_says_is_sent_only_to_who_wants_it_all_the_same(
    client: TestClient, database: Database, store: LocalStore, made: Published, what: str
) -> None:
    url = f"/adapters/{made.adapter_id}/exports/{an_export(database, store, made, parity='failed')}"
    assert client.get(url).json()["status"] == "unusable"

    refused = client.get(f"{url}/{what}")

    assert (refused.status_code, refused.json()["code"]) == (409, "export_unusable")
    assert client.get(f"{url}/{what}", params={"unusable": True}).status_code == 200


def test_a_job_whose_export_is_unusable_has_succeeded_and_says_so(
    client: TestClient, database: Database, settings: Settings, store: LocalStore, made: Published
) -> None:
    job = asked_for(client, made)
    written(database, settings, store, parity="failed")

    (export,) = client.get(f"/adapters/{made.adapter_id}/exports").json()["data"]
    assert export["status"] == "unusable"
    events = client.get(f"/jobs/{job['id']}/events").json()["data"]
    assert (events[-2]["type"], events[-2]["level"]) == ("adapter.exported", "warning")
    assert client.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"


def test_an_adapter_that_is_held_back_is_neither_exported_nor_sent_as_one(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    held = a_published_job(database, store, status=AdapterStatus.QUARANTINED, base_model="owner/model")
    url = f"/adapters/{held.adapter_id}/exports"
    export_id = an_export(database, store, held)

    refused = [
        client.post(url, json={"format": "merged"}),
        client.get(f"{url}/{export_id}/download"),
        client.get(f"{url}/{export_id}/files/README.md", params={"unusable": True}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {
        (409, "adapter_quarantined")
    }
    client.post(f"/adapters/{held.adapter_id}/release")
    assert client.get(f"{url}/{export_id}/download").status_code == 200
    assert client.post(url, json={"format": "merged"}).status_code == 202


def test_what_cannot_be_exported_is_refused(
    client: TestClient, database: Database, store: LocalStore, made: Published
) -> None:
    def refused(which: str, **body: Any) -> tuple[int, str]:
        answer = client.post(f"/adapters/{which}/exports", json=body)
        return answer.status_code, answer.json()["code"]

    assert refused("adp_0", format="merged") == (404, "adapter_not_found")
    assert refused(made.adapter_id, format="onnx")[0] == 422
    assert refused(made.adapter_id)[0] == 422
    assert refused(made.adapter_id, format="merged", adapter_id="adp_0")[0] == 422
    not_allowed = a_published_job(database, store)
    assert refused(not_allowed.adapter_id, format="merged") == (422, "model_not_allowed")
    other = a_published_job(database, store, base_model="owner/model")
    export_id = an_export(database, store, other)
    wrong = client.get(f"/adapters/{made.adapter_id}/exports/{export_id}")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "export_not_found")


def test_exports_go_by_themselves_or_with_their_adapter(
    client: TestClient, database: Database, store: LocalStore, made: Published
) -> None:
    url = f"/adapters/{made.adapter_id}/exports"
    first, second = (an_export(database, store, made) for _ in range(2))

    assert client.delete(f"{url}/{first}").status_code == 204

    assert client.get(f"{url}/{first}").status_code == 404
    assert [row["id"] for row in client.get(url).json()["data"]] == [second]
    assert client.delete(f"/adapters/{made.adapter_id}").status_code == 204
    assert client.get(f"{url}/{second}").json()["code"] == "adapter_not_found"


def test_nothing_is_published_of_an_adapter_that_was_deleted_meanwhile(
    client: TestClient, database: Database, settings: Settings, store: LocalStore, made: Published
) -> None:
    job = asked_for(client, made)
    client.delete(f"/adapters/{made.adapter_id}")

    with pytest.raises(AdapterDeletedError):
        written(database, settings, store)

    assert client.get(f"/jobs/{job['id']}").json()["status"] == "running"


def test_such_a_job_has_all_that_jobs_have(
    client: TestClient, database: Database, settings: Settings, store: LocalStore, made: Published
) -> None:
    url = f"/jobs/{asked_for(client, made)['id']}"
    written(database, settings, store)

    report = client.get(f"{url}/report").json()
    assert (report["kind"], report["method"], report["adapter"]["id"]) == ("export", None, made.adapter_id)
    assert "it writes an adapter" in client.get(f"{url}/report", params={"format": "md"}).text
    assert client.get(f"{url}/report", params={"format": "html"}).status_code == 200
    manifest = client.get(f"{url}/manifest").json()
    assert (manifest["kind"], manifest["request"]["format"]) == ("export", "merged")
    again = client.post(f"/adapters/{made.adapter_id}/exports", json=manifest["request"])
    assert again.status_code == 202
    for part in ("events", "attempts", "checkpoints", "metrics", "supervision", "provenance", "facts"):
        assert client.get(f"{url}/{part}").status_code == 200, part
    assert client.delete(url).status_code == 204
    (export,) = client.get(f"/adapters/{made.adapter_id}/exports").json()["data"]
    assert export["job_id"] is None


def test_workers_that_do_not_know_such_jobs_leave_them_alone(
    client: TestClient, database: Database, settings: Settings, made: Published
) -> None:
    asked_for(client, made)

    assert claimed(database, settings, EXPORTING - 1) is None


def test_exports_count_as_stored_bytes(database: Database, store: LocalStore, made: Published) -> None:
    room = sum(map(len, FILES.values())) + 1

    def export() -> JobRead:
        return create_export(
            database,
            project_id=DEFAULT_PROJECT,
            adapter_id=made.adapter_id,
            request=ExportCreate.model_validate({"format": "merged"}),
            allowed_models=["*"],
            defaults=Quotas(stored_bytes=room),
        )

    export()
    an_export(database, store, made)

    with pytest.raises(QuotaExceededError):
        export()


def test_an_adapter_that_was_made_elsewhere_is_not_exported(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    made = a_published_job(database, store, status=AdapterStatus.READY)
    with database.begin() as session:
        found = session.get_one(Adapter, made.adapter_id)
        found.method_type, found.fact_set_id = IMPORTED, None

    answer = client.post(f"/adapters/{made.adapter_id}/exports", json={"format": "merged"})

    assert (answer.status_code, answer.json()["code"]) == (409, "not_exportable")
