"""Adapters over HTTP: on both databases, with files in a folder."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.storage import CorruptBlobError, LocalStore
from tests.app.published import FILES, a_published_job, another_project
from tests.factories import a_job

EXPECTED = {f"adapter/{path}": data for path, data in FILES.items()}


def unpacked(content: bytes, form: str) -> dict[str, bytes]:
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            assert packed.testzip() is None
            return {name: packed.read(name) for name in packed.namelist()}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize(("form", "kind"), [("tar.gz", "application/gzip"), ("zip", "application/zip")])
def test_an_adapter_is_downloaded_whole_and_alike_each_time(
    client: TestClient, database: Database, store: LocalStore, form: str, kind: str
) -> None:
    published = a_published_job(database, store)
    url = f"/adapters/{published.adapter_id}/download"

    answers = [client.get(url, params={"format": form}) for _ in range(2)]

    assert unpacked(answers[0].content, form) == EXPECTED
    assert answers[0].content == answers[1].content
    assert answers[0].headers["content-type"] == kind
    disposition = f'attachment; filename="{published.adapter_id}.{form}"'
    assert answers[0].headers["content-disposition"] == disposition
    again = client.get(url, params={"format": form}, headers={"If-None-Match": answers[0].headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_tarball_is_what_one_gets_unless_asked(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    content = client.get(f"/adapters/{published.adapter_id}/download").content

    assert unpacked(content, "tar.gz") == EXPECTED


def test_files_are_listed_and_read_one_by_one(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/adapters/{a_published_job(database, store).adapter_id}/files"

    listed = client.get(url).json()["data"]

    assert [file["path"] for file in listed] == sorted(FILES)
    for file in listed:
        answer = client.get(f"{url}/{file['path']}")
        assert answer.content == FILES[file["path"]]
        assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
        assert int(answer.headers["content-length"]) == file["bytes"]


@pytest.mark.parametrize("sent", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_file_that_the_client_has_is_not_sent_again(
    client: TestClient, database: Database, store: LocalStore, sent: str
) -> None:
    url = f"/adapters/{a_published_job(database, store).adapter_id}/files/README.md"
    tag = hashlib.sha256(FILES["README.md"]).hexdigest()

    answer = client.get(url, headers={"If-None-Match": sent.format(tag)})

    assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fmixsd.db",
        "%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e%252fsecret",
        "/etc/passwd",
        ".%2fREADME.md",
        "README.md/",
        "readme.md",
        "",
    ],
)
def test_a_path_that_is_not_listed_is_not_there(
    client: TestClient, database: Database, store: LocalStore, path: str
) -> None:
    adapter_id = a_published_job(database, store).adapter_id

    answer = client.get(f"/adapters/{adapter_id}/files/{path}")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_an_encoded_way_up_reaches_the_route_and_ends_there(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    adapter_id = a_published_job(database, store).adapter_id

    answer = client.get(f"/adapters/{adapter_id}/files/..%2f..%2fmixsd.db")

    assert answer.json()["code"] == "file_not_found"


def test_a_nul_in_a_path_is_refused(client: TestClient, database: Database, store: LocalStore) -> None:
    adapter_id = a_published_job(database, store).adapter_id

    answer = client.get(f"/adapters/{adapter_id}/files/a%00b")

    assert (answer.status_code, answer.json()["code"]) == (400, "nul_character")
    assert client.get("/jobs", params={"fact_set_id": "\x00"}).json()["code"] == "nul_character"


def test_files_of_a_quarantined_adapter_are_held_back(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/adapters/{a_published_job(database, store, status=AdapterStatus.QUARANTINED).adapter_id}"

    for path in ("/download", "/files/README.md"):
        answer = client.get(url + path)
        assert (answer.status_code, answer.json()["code"]) == (409, "adapter_quarantined")
        assert f"POST {url}/release" in answer.json()["detail"]
    assert client.get(url).json()["status"] == "quarantined"


def test_an_unfinished_job_has_no_adapter_to_download(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    assert client.get(f"/jobs/{job_id}").json()["adapter_id"] is None
    assert client.get("/adapters", params={"job_id": job_id}).json()["data"] == []
    for adapter_id in (job_id, "adp_0", "None"):
        answer = client.get(f"/adapters/{adapter_id}/download")
        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")


def test_adapters_are_listed_with_what_they_are(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    first, second = a_published_job(database, store), a_published_job(database, store)

    listed = client.get("/adapters").json()["data"]
    of_first = client.get("/adapters", params={"job_id": first.job_id}).json()["data"]

    ids = [first.adapter_id, second.adapter_id]
    assert [adapter["id"] for adapter in listed] == sorted(ids, reverse=True)
    assert [adapter["id"] for adapter in of_first] == [first.adapter_id]
    assert of_first[0]["summary"]["training"]["steps"] == 12
    assert client.get(f"/adapters/{first.adapter_id}").json() == of_first[0]


def test_a_deleted_adapter_is_gone_and_others_keep_their_files(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    gone, kept = (a_published_job(database, store).adapter_id for _ in range(2))

    assert client.delete(f"/adapters/{gone}").status_code == 204

    for path in ("", "/files", "/download", "/files/README.md"):
        assert client.get(f"/adapters/{gone}{path}").status_code == 404
    assert client.delete(f"/adapters/{gone}").status_code == 404
    assert [adapter["id"] for adapter in client.get("/adapters").json()["data"]] == [kept]
    assert unpacked(client.get(f"/adapters/{kept}/download").content, "tar.gz") == EXPECTED


def test_another_projects_adapter_does_not_exist(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store, project_id=another_project(database))

    for path in ("", "/files", "/download", "/files/README.md"):
        assert client.get(f"/adapters/{published.adapter_id}{path}").status_code == 404
    assert client.delete(f"/adapters/{published.adapter_id}").status_code == 404
    assert client.get("/adapters").json()["data"] == []


@pytest.mark.parametrize("path", ["/download", "/download?format=zip", "/files/README.md"])
def test_a_blob_that_is_corrupt_breaks_the_answer_off(
    api: FastAPI, database: Database, store: LocalStore, tmp_path: Path, path: str
) -> None:
    adapter_id = a_published_job(database, store).adapter_id
    (blob,) = tmp_path.rglob(hashlib.sha256(FILES["README.md"]).hexdigest())
    blob.write_bytes(b"# Adaptor\n")

    with pytest.raises(CorruptBlobError):
        TestClient(api).get(f"/adapters/{adapter_id}{path}")


def test_a_blob_that_is_lost_is_an_error_and_not_an_empty_file(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    adapter_id = a_published_job(database, store).adapter_id
    store.delete(hashlib.sha256(FILES["README.md"]).hexdigest())

    for path in ("/download", "/files/README.md"):
        answer = client.get(f"/adapters/{adapter_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "sha256" not in answer.json()["detail"]
