"""Parts of an adapter's files, and what is said about it: card, manifest, lineage."""

import hashlib
import json

import pytest
from fastapi.testclient import TestClient

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.storage import LocalStore
from tests.app.published import FILES, a_published_job

WEIGHTS = FILES["adapter_model.safetensors"]
TAG = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
SIZE = len(WEIGHTS)


@pytest.fixture
def url(database: Database, store: LocalStore) -> str:
    return f"/adapters/{a_published_job(database, store).adapter_id}/files/adapter_model.safetensors"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", range(100)),
        ("bytes=100-", range(100, SIZE)),
        ("bytes=-7", range(SIZE - 7, SIZE)),
        ("bytes=5-5", range(5, 6)),
        (f"bytes=10-{SIZE * 9}", range(10, SIZE)),
        (f"bytes=-{SIZE * 9}", range(SIZE)),
        ("Bytes=3-4", range(3, 5)),
    ],
)
def test_a_part_of_a_file_is_sent_alone(client: TestClient, url: str, asked: str, part: range) -> None:
    answer = client.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (206, WEIGHTS[part.start : part.stop])
    assert answer.headers["content-range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"
    assert (int(answer.headers["content-length"]), answer.headers["etag"]) == (len(part), TAG)


@pytest.mark.parametrize(
    "asked", ["bytes=9-3", "bytes=0-1,4-5", "bytes=-", "bytes=a-b", "lines=0-1", "bytes 0-1", "bytes=٣-٤"]
)
def test_what_is_no_single_range_gets_the_whole_file(client: TestClient, url: str, asked: str) -> None:
    answer = client.get(url, headers={b"Range": asked.encode()})

    assert (answer.status_code, answer.content) == (200, WEIGHTS)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 1}", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_length(client: TestClient, url: str, asked: str) -> None:
    answer = client.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), ('"other"', 200), (f"W/{TAG}", 200), ("Sun, 29 Nov 2026 10:00:00 GMT", 200)],
)
def test_a_part_is_sent_only_of_the_file_that_the_client_began(
    client: TestClient, url: str, condition: str, status: int
) -> None:
    answer = client.get(url, headers={"Range": "bytes=100-", "If-Range": condition})

    assert (answer.status_code, answer.content) == (status, WEIGHTS[100 if status == 206 else 0 :])


def test_a_file_that_the_client_has_is_not_sent_in_parts(client: TestClient, url: str) -> None:
    assert client.get(url, headers={"Range": "bytes=0-1", "If-None-Match": TAG}).status_code == 304


def test_parts_put_together_are_the_file(client: TestClient, url: str) -> None:
    parts = [client.get(url, headers={"Range": f"bytes={at}-{at + 999}"}) for at in range(0, SIZE, 1000)]

    assert hashlib.sha256(b"".join(part.content for part in parts)).hexdigest() == TAG.strip('"')


def test_an_archive_is_sent_whole_or_not_at_all(client: TestClient, url: str) -> None:
    archive = url.replace("/files/adapter_model.safetensors", "/download?format=zip")

    answer = client.get(archive, headers={"Range": "bytes=0-1"})

    assert (answer.status_code, answer.headers["accept-ranges"]) == (200, "none")


@pytest.mark.parametrize("status", [AdapterStatus.READY, AdapterStatus.QUARANTINED])
def test_card_and_manifest_can_be_read_even_of_what_is_held_back(
    client: TestClient, database: Database, store: LocalStore, status: AdapterStatus
) -> None:
    url = f"/adapters/{a_published_job(database, store, status=status).adapter_id}"

    card, manifest = client.get(f"{url}/card"), client.get(f"{url}/manifest")

    assert (card.status_code, card.content) == (200, FILES["README.md"])
    assert card.headers["content-type"] == "text/markdown; charset=utf-8"
    assert card.headers["content-disposition"] == 'inline; filename="README.md"'
    assert manifest.json() == json.loads(FILES["manifest.json"])
    assert manifest.headers["content-type"] == "application/json"
    assert manifest.headers["etag"] == f'"{client.get(url).json()["sha256"]}"'
    tag = {"If-None-Match": manifest.headers["etag"]}
    assert client.get(f"{url}/manifest", headers=tag).status_code == 304


def test_lineage_says_what_an_adapter_was_made_from(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)
    fact_set = client.get(f"/fact-sets/{published.fact_set_id}").json()

    lineage = client.get(f"/adapters/{published.adapter_id}/lineage").json()

    assert (lineage["adapter_id"], lineage["status"]) == (published.adapter_id, "ready")
    assert (lineage["job"]["id"], lineage["job"]["status"]) == (published.job_id, "succeeded")
    assert lineage["fact_set"] == {
        "id": published.fact_set_id,
        "name": fact_set["name"],
        "n_facts": 3,
        "sha256": fact_set["sha256"],
        "deleted": False,
    }
    assert lineage["base_model"] == {"id": "tiny", "revision": "main"}
    assert lineage["method"] == {"type": "mixsd", "variant": 0}
    assert (lineage["parent"], lineage["children"]) == (None, [])


def test_lineage_tells_what_has_become_of_job_and_facts(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store, status=AdapterStatus.QUARANTINED)
    client.post(f"/adapters/{published.adapter_id}/release", json={"reason": "we looked"})
    assert client.delete(f"/jobs/{published.job_id}").status_code == 204
    assert client.delete(f"/fact-sets/{published.fact_set_id}").status_code == 204

    lineage = client.get(f"/adapters/{published.adapter_id}/lineage").json()

    assert lineage["job"] is None
    assert (lineage["fact_set"]["deleted"], lineage["fact_set"]["n_facts"]) == (True, 3)
    assert (lineage["release_reason"], bool(lineage["released_at"])) == ("we looked", True)
    assert client.delete(f"/adapters/{published.adapter_id}").status_code == 204
    gone = client.get(f"/adapters/{published.adapter_id}/lineage")
    assert (gone.status_code, gone.json()["code"]) == (404, "adapter_not_found")


def test_an_adapter_that_came_without_a_card_has_none(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    adapter_id = a_published_job(database, store, files=("adapter_model.safetensors",)).adapter_id

    for path in ("card", "manifest"):
        answer = client.get(f"/adapters/{adapter_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")
