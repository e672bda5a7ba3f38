"""A service whose adapters lie in S3: what the API, the sweeper, fsck and backup make of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.adapters.models import AdapterFile
from app.db.engine import Database
from app.main import build_app
from app.queue import NullDispatcher
from app.s3.store import S3Store
from app.settings import AuthMode, Settings
from app.storage import LocalStore, StoreMisconfiguredError
from app.stores import store_for
from tests.app.published import a_published_job
from tests.s3 import moto
from tests.s3.lying import LyingServer, cut, refusal, with_headers
from worker.backup.restoring import restore
from worker.backup.saving import save
from worker.child import environment_for
from worker.fsck.checking import check_service
from worker.housekeeping import clear_blobs

LONG_AGO = with_headers(date="Mon, 02 Nov 2037 00:00:00 GMT")
"""Answers by which everything is older than it is."""


@pytest.fixture
def settings(tmp_path: Path, s3_endpoint: str, bucket: str) -> Settings:
    return Settings(
        data_dir=tmp_path,
        auth=AuthMode.OFF,
        rate_limit=0,
        artifacts=f"s3://{bucket}/deep/er",
        s3_endpoint=s3_endpoint,
    )


@pytest.fixture
def linking(s3_endpoint: str, bucket: str) -> Iterator[S3Store]:
    with moto.a_store(s3_endpoint, bucket, link_seconds=3600) as store:
        yield store


def a_client(database: Database, store: Any, settings: Settings) -> TestClient:
    app = build_app(database, store, NullDispatcher(), settings)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def a_file(database: Database, path: str = "adapter_model.safetensors") -> tuple[str, str]:
    """Return the address of a file of the one adapter, and its digest."""
    with database.read() as session:
        file = session.scalars(select(AdapterFile).where(AdapterFile.path == path)).one()
        return f"/adapters/{file.adapter_id}/files/{path}", file.sha256


def test_a_file_is_fetched_from_s3_itself(database: Database, linking: S3Store, settings: Settings) -> None:
    a_published_job(database, linking)
    url, sha256 = a_file(database)
    client = a_client(database, linking, settings)

    answer = client.get(url)

    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["etag"] == f'"{sha256}"'
    there = httpx2.get(answer.headers["location"], timeout=moto.PATIENCE)
    with linking.open(sha256) as blob:
        assert there.content == blob.read()
    assert there.headers["content-disposition"] == 'attachment; filename="adapter_model.safetensors"'
    place = client.get(url, headers={"Range": "bytes=1-3"}).headers["location"]
    part = httpx2.get(place, headers={"Range": "bytes=1-3"}, timeout=moto.PATIENCE)
    assert (part.status_code, part.content) == (206, there.content[1:4])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "*"}, 304),
        ({"Range": "bytes=1-3", "If-Range": '"{sha256}"'}, 206),
        ({"If-Range": '"another"'}, 200),
        ({"Range": "bytes=1000000-"}, 416),
    ],
    ids=["not changed", "a part of the same", "all of another", "beyond the end"],
)
def test_what_only_we_can_answer_is_answered_by_us(
    database: Database, linking: S3Store, settings: Settings, headers: dict[str, str], status: int
) -> None:
    a_published_job(database, linking)
    url, sha256 = a_file(database)
    asked = {name: value.format(sha256=sha256) for name, value in headers.items()}

    assert a_client(database, linking, settings).get(url, headers=asked).status_code == status


@pytest.mark.parametrize("what", ["download", "download?format=zip", "card", "manifest"])
def test_archives_and_what_is_read_go_through_the_api(
    database: Database, linking: S3Store, settings: Settings, what: str
) -> None:
    a_published_job(database, linking)
    adapter = a_file(database)[0].split("/")[2]

    answer = a_client(database, linking, settings).get(f"/adapters/{adapter}/{what}")

    assert answer.status_code == 200
    assert answer.content


def test_redirects_can_be_switched_off(database: Database, settings: Settings) -> None:
    store = store_for(settings.model_copy(update={"s3_redirect": False}))
    a_published_job(database, store)
    url, sha256 = a_file(database)

    answer = a_client(database, store, settings).get(url)

    assert answer.status_code == 200
    with store.open(sha256) as blob:
        assert answer.content == blob.read()
    store.close()


def test_links_name_the_address_that_clients_know(settings: Settings) -> None:
    store = store_for(settings.model_copy(update={"s3_public_endpoint": "https://files.example.com"}))

    link = store.link("0" * 64, disposition="attachment", media_type="text/plain")

    assert link is not None
    assert link.startswith(f"https://files.example.com/{settings.artifacts[5:]}/00/{'0' * 64}?")
    assert "X-Amz-Expires=900" in link
    store.close()


def test_a_quarantined_adapter_has_no_links(database: Database, linking: S3Store, settings: Settings) -> None:
    a_published_job(database, linking, gate={"status": "failed"})

    answer = a_client(database, linking, settings).get(a_file(database)[0])

    assert (answer.status_code, answer.json()["code"]) == (409, "adapter_quarantined")


def test_a_store_that_is_away_is_said_to_be(
    database: Database, lying: LyingServer, bucket: str, settings: Settings
) -> None:
    with moto.a_store(lying.url, bucket) as store:
        a_published_job(database, store)
        client = a_client(database, store, settings)
        assert client.get("/readyz").status_code == 200
    with moto.a_store(lying.url, bucket) as store:
        client = a_client(database, store, settings)
        for method in ("GET", "HEAD"):
            lying.tell(method, cut, times=1000)

        ready, file = client.get("/readyz"), client.get(a_file(database)[0])

    assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
    assert "see the log" in ready.json()["detail"]
    assert (file.status_code, file.json()["code"]) == (503, "store_unavailable")
    assert bucket not in file.text + ready.text
    assert int(file.headers["retry-after"]) > 0


def test_the_sweeper_spares_what_is_young_or_needed(
    database: Database, lying: LyingServer, bucket: str, settings: Settings
) -> None:
    with moto.a_store(lying.url, bucket) as store:
        a_published_job(database, store)
        needed = {kept.name for kept in store.blobs()}
        orphan = store.put_bytes(b"nobody's").sha256

        assert clear_blobs(database, store, keep=settings.keep_work) == 0
        lying.tell("GET", LONG_AGO, part="list-type=2", times=1000)
        assert clear_blobs(database, store, keep=settings.keep_work) == 0  # the list was wrong: it is young
        lying.tell("HEAD", LONG_AGO, times=1000)
        assert clear_blobs(database, store, keep=settings.keep_work) == 1

        assert {kept.name for kept in store.blobs()} == needed
        assert not store.exists(orphan)


def test_fsck_reads_what_lies_in_s3(
    database: Database, s3_store: S3Store, s3_endpoint: str, bucket: str, settings: Settings
) -> None:
    a_published_job(database, s3_store)
    url, sha256 = a_file(database)
    (key,) = [key for key in moto.keys_in(s3_endpoint, bucket) if key.endswith(sha256)]

    def problems() -> list[str]:
        report = check_service(
            database.engine, store=s3_store, work=settings.work_dir, keep=settings.keep_work, hashing=True
        )
        (check,) = [check for check in report.checks if check.name == "blobs"]
        return [problem.what for problem in check.problems]

    assert problems() == []
    with s3_store.open(sha256) as blob:
        data = blob.read()
    moto.overwrite(s3_endpoint, bucket, key, bytes([data[0] ^ 1]) + data[1:])
    assert problems() == [f"{url.rpartition('/')[2]} ({sha256}) is not what was written: its sha256 differs"]
    s3_store.delete(sha256)
    assert problems() == [f"{url.rpartition('/')[2]} ({sha256}) is missing"]


def test_a_backup_goes_from_one_store_to_the_other(
    database: Database, s3_store: S3Store, s3_endpoint: str, tmp_path: Path, settings: Settings
) -> None:
    a_published_job(database, s3_store)
    places = {"work": settings.work_dir}

    saved = save(database.engine, tmp_path / "first", store=s3_store, keep=settings.keep_work, **places)
    folder = LocalStore(tmp_path / "artifacts")
    restore(database, tmp_path / "first", store=folder, force=True, **places)
    save(database.engine, tmp_path / "second", store=folder, keep=settings.keep_work, **places)
    with moto.a_store(s3_endpoint, moto.a_bucket(s3_endpoint)) as other:
        restore(database, tmp_path / "second", store=other, force=True, **places)
        there = {kept.name for kept in other.blobs()}
        other.verify(a_file(database)[1])

    assert saved.missing == []
    assert there == {kept.name for kept in folder.blobs()} == {kept.name for kept in s3_store.blobs()}


def test_runners_get_the_credentials_only_where_they_need_them(settings: Settings) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "test", "AWS_PROFILE": "mine", "SECRET": "no"}

    with_s3 = environment_for(settings, environ)
    without = environment_for(settings.model_copy(update={"artifacts": ""}), environ)

    assert {"AWS_ACCESS_KEY_ID", "AWS_PROFILE"} <= with_s3.keys()
    assert with_s3["MIXSD_ARTIFACTS"] == settings.artifacts
    assert not [name for name in without if name.startswith("AWS_")]
    assert "SECRET" not in with_s3


def test_without_the_extra_the_store_says_what_to_install(settings: Settings) -> None:
    program = (
        "import sys; sys.modules['boto3'] = None\n"
        "import app.main\n"
        "assert not [name for name in sys.modules if name.startswith('botocore')]\n"
        "from app.settings import Settings\n"
        "from app.stores import store_for\n"
        "store_for(Settings(artifacts='s3://bucket'))"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "StoreExtraMissingError" in ended.stderr
    assert "pip install 'mixsd[s3]'" in ended.stderr


def test_an_address_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(StoreMisconfiguredError, match="MIXSD_S3_ENDPOINT"):
        store_for(settings.model_copy(update={"s3_endpoint": "http://"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [("bucket", "there is no bucket 'not-there'"), ("credentials", "InvalidAccessKeyId")],
)
def test_a_service_does_not_start_on_a_store_that_cannot_be_used(
    tmp_path: Path, lying: LyingServer, bucket: str, wrong: str, said: str
) -> None:
    if wrong == "credentials":
        lying.tell("GET", refusal(403, "InvalidAccessKeyId"), times=1000)
    environ = {
        **os.environ,
        "MIXSD_DATA_DIR": str(tmp_path),
        "MIXSD_ARTIFACTS": "s3://not-there" if wrong == "bucket" else f"s3://{bucket}",
        "MIXSD_S3_ENDPOINT": lying.url,
    }

    for command in (["up", "--port", "0"], ["fsck"]):
        if command == ["fsck"]:
            subprocess.run([sys.executable, "-m", "mixsd", "db", "upgrade"], env=environ, check=True)
        ended = subprocess.run(
            [sys.executable, "-m", "mixsd", *command],
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

        assert ended.returncode == (1 if command[0] == "up" else 2)
        assert "the store of adapters cannot be used" in ended.stderr
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr
