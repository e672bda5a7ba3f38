"""The artifact store: whole or not at all, and never silently wrong."""

import hashlib
import io
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.storage import CHUNK, CorruptBlobError, LocalStore, StorageFullError, free_bytes

DATA = bytes(range(256)) * 8192 + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "not" / "there" / "yet")


def files_in(store_root: Path) -> list[Path]:
    return [path for path in store_root.rglob("*") if path.is_file()]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_was_put_can_be_read(store: LocalStore, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(DATA)

    blob = store.put(source)

    assert (blob.sha256, blob.bytes) == (SHA256, len(DATA))
    assert store.exists(SHA256)
    with store.open(SHA256) as opened:
        assert opened.read() == DATA
    assert source.read_bytes() == DATA


def test_the_same_content_is_kept_once(store: LocalStore, tmp_path: Path) -> None:
    assert store.put_bytes(DATA) == store.put_bytes(DATA)

    assert [path.name for path in files_in(tmp_path)] == [SHA256]


def test_nothing_is_a_content_too(store: LocalStore) -> None:
    blob = store.put_bytes(b"")

    with store.open(blob.sha256) as opened:
        assert opened.read() == b""


def test_a_full_disk_is_named_and_leaves_nothing_behind(store: LocalStore, tmp_path: Path) -> None:
    store.put_bytes(b"before")

    with no_file_longer_than(CHUNK), pytest.raises(StorageFullError, match="room"):
        store.put_bytes(DATA)

    assert [path.name for path in files_in(tmp_path)] == [hashlib.sha256(b"before").hexdigest()]
    assert not store.exists(SHA256)


def test_a_source_that_breaks_off_leaves_nothing_behind(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        store.put(tmp_path)

    assert files_in(tmp_path) == []


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"x", b"X" + DATA[1:], b""])
def test_a_corrupt_blob_is_found_out_while_it_is_read(
    store: LocalStore, tmp_path: Path, wrong: bytes
) -> None:
    store.put_bytes(DATA)
    (path,) = files_in(tmp_path)
    path.write_bytes(wrong)

    with pytest.raises(CorruptBlobError, match=SHA256):
        store.verify(SHA256)
    with store.open(SHA256) as opened, pytest.raises(CorruptBlobError):
        io.BytesIO(opened.read())


def test_a_blob_that_is_not_there_is_said_to_be_missing(store: LocalStore) -> None:
    assert not store.exists(SHA256)
    with pytest.raises(FileNotFoundError):
        store.open(SHA256)


def test_a_deleted_blob_is_gone(store: LocalStore) -> None:
    store.put_bytes(DATA)

    store.delete(SHA256)
    store.delete(SHA256)

    assert not store.exists(SHA256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
def test_a_name_that_is_no_digest_is_never_a_path(store: LocalStore, name: str) -> None:
    with pytest.raises(ValueError, match="no sha256"):
        store.open(name)


def test_room_is_measured_where_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0
