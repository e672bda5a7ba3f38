"""The artifact store that is a folder; what every store promises is in `tests.s3.test_stores`."""

import hashlib
import io
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
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


def test_the_same_content_is_kept_once(store: LocalStore, tmp_path: Path) -> None:
    assert store.put_bytes(DATA) == store.put_bytes(DATA)

    assert [path.name for path in files_in(tmp_path)] == [SHA256]


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


def test_what_a_process_left_half_written_is_listed_and_forgotten(store: LocalStore, tmp_path: Path) -> None:
    store.put_bytes(DATA)
    begun = tmp_path / "not" / "there" / "yet" / ".0123.tmp"
    begun.write_bytes(b"beg")

    assert [(kept.name, kept.bytes) for kept in store.begun()] == [(begun.name, 3)]
    assert store.forget_begun(older_than=timedelta(hours=1)) == 0
    os.utime(begun, (0, 0))
    assert store.forget_begun(older_than=timedelta(hours=1)) == 1

    assert list(store.begun()) == []
    assert store.exists(SHA256)


def test_a_folder_gives_no_links(store: LocalStore) -> None:
    store.put_bytes(DATA)

    assert store.link(SHA256, disposition="attachment", media_type="text/plain") is None


def test_room_is_measured_where_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0
