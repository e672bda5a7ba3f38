"""What every artifact store promises: whole or not at all, and never silently wrong."""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.s3.store import S3Store
from app.storage import CHUNK, ArtifactStore, CorruptBlobError, LocalStore
from tests.s3 import moto

DATA = bytes(range(256)) * 8192 + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()
CONTENTS = {"nothing": b"", "a byte": b"x", "chunks": DATA, "parts": DATA * 6}


@pytest.fixture(params=["folder", "s3", "s3 without prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    if request.param == "folder":
        yield LocalStore(tmp_path / "store")
        return
    endpoint, bucket = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("bucket")
    with moto.a_store(endpoint, bucket, prefix="" if "without" in request.param else "a/b/") as store:
        yield store


@pytest.fixture
def damage(store: ArtifactStore, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], None]:
    """Put other bytes in the place of the one blob."""

    def replace(data: bytes) -> None:
        if isinstance(store, LocalStore):
            (path,) = (tmp_path / "store").glob("??/*")
            path.write_bytes(data)
            return
        endpoint, bucket = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("bucket")
        (key,) = moto.keys_in(endpoint, bucket)
        moto.overwrite(endpoint, bucket, key, data)

    return replace


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("how", ["file", "bytes"])
def test_what_was_put_can_be_read(store: ArtifactStore, tmp_path: Path, content: str, how: str) -> None:
    data, source = CONTENTS[content], tmp_path / "weights"
    source.write_bytes(data)

    blob = store.put(source) if how == "file" else store.put_bytes(data)

    assert (blob.sha256, blob.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert store.exists(blob.sha256)
    store.verify(blob.sha256)
    with store.open(blob.sha256) as opened:
        assert opened.read() == data
    assert source.read_bytes() == data


@pytest.mark.parametrize("start", [0, 1, CHUNK, len(DATA) - 1, len(DATA), len(DATA) + 5])
def test_a_blob_can_be_read_from_any_byte_on(store: ArtifactStore, start: int) -> None:
    store.put_bytes(DATA)

    with store.open_at(SHA256, start) as opened:
        assert opened.read() == DATA[start:]


def test_the_same_content_is_kept_once(store: ArtifactStore) -> None:
    assert store.put_bytes(DATA) == store.put_bytes(DATA)

    assert [(kept.name, kept.bytes) for kept in store.blobs()] == [(SHA256, len(DATA))]


def test_what_is_listed_has_an_age(store: ArtifactStore) -> None:
    store.put_bytes(DATA)

    (kept,) = store.blobs()

    age = store.age(SHA256)
    assert age is not None
    assert -2 < kept.age <= age + 1 < 3600


@pytest.mark.parametrize(
    "wrong", [DATA[:-1], DATA + b"x", b"X" + DATA[1:], b""], ids=["short", "long", "other", "nothing"]
)
def test_a_corrupt_blob_is_found_out_while_it_is_read(
    store: ArtifactStore, damage: Callable[[bytes], None], wrong: bytes
) -> None:
    store.put_bytes(DATA)
    damage(wrong)

    with pytest.raises(CorruptBlobError, match=SHA256):
        store.verify(SHA256)
    with store.open(SHA256) as opened, pytest.raises(CorruptBlobError):
        io.BytesIO(opened.read())


def test_a_blob_that_is_not_there_is_said_to_be_missing(store: ArtifactStore) -> None:
    assert not store.exists(SHA256)
    assert store.age(SHA256) is None
    for read in (store.verify, store.open, lambda sha256: store.open_at(sha256, 3)):
        with pytest.raises(FileNotFoundError):
            read(SHA256)


def test_a_deleted_blob_is_gone(store: ArtifactStore) -> None:
    store.put_bytes(DATA)

    store.delete(SHA256)
    store.delete(SHA256)

    assert not store.exists(SHA256)
    assert list(store.blobs()) == []


def test_a_source_that_breaks_off_leaves_nothing_behind(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        store.put(tmp_path)

    assert (list(store.blobs()), list(store.begun())) == ([], [])


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
def test_a_name_that_is_no_digest_is_never_a_path(store: ArtifactStore, name: str) -> None:
    for use in (store.open, store.exists, store.age, store.delete, lambda it: store.open_at(it, 0)):
        with pytest.raises(ValueError, match="no sha256"):
            use(name)


def test_a_store_can_be_used_again_after_its_connections_were_let_go(store: ArtifactStore) -> None:
    store.check()
    store.close()

    assert store.put_bytes(DATA).sha256 == SHA256


def test_what_others_put_beside_the_blobs_is_listed_as_it_is(
    s3_store: S3Store, s3_endpoint: str, bucket: str
) -> None:
    s3_store.put_bytes(DATA)
    moto.overwrite(s3_endpoint, bucket, "some/where/notes.txt", b"mine")
    moto.overwrite(s3_endpoint, bucket, f"some/where/{SHA256}", b"not where it belongs")
    moto.overwrite(s3_endpoint, bucket, "elsewhere", b"another's")

    found = {kept.name: kept.bytes for kept in s3_store.blobs()}

    here = f"s3://{bucket}/some/where"
    assert found == {SHA256: len(DATA), f"{here}/notes.txt": 4, f"{here}/{SHA256}": 20}
