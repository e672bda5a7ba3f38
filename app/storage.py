"""Where the bytes of adapters lie. Files are named by their content, so that none is ever changed."""

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Protocol

from app.errors import InsufficientStorageError

CHUNK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DIGEST_LENGTH: Final = 64


class StorageFullError(InsufficientStorageError):
    code: ClassVar[str] = "storage_full"

    def __init__(self, need: int) -> None:
        super().__init__(f"there is no room for {need} more bytes: make room, then try again")


@contextmanager
def or_full(need: int) -> Generator[None]:
    """Turn the failure of a disk that is full into one that says so.

    Raises:
        StorageFullError: There was no room for `need` bytes, or for what is put down on the way.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(need) from error
        raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
            raise StorageFullError(need) from error
        raise


class CorruptBlobError(OSError):
    """A stored file is not what its name says."""

    def __init__(self, sha256: str) -> None:
        super().__init__(errno.EIO, f"the blob {sha256} is corrupt")


@dataclass(frozen=True, slots=True)
class StoredBlob:
    sha256: str
    bytes: int


class ArtifactStore(Protocol):
    """Keeps files under the digest of their content. What was put is there, whole, until deleted."""

    def put(self, path: Path) -> StoredBlob:
        """Copy a file in. Putting the same content twice is harmless."""
        ...

    def put_bytes(self, data: bytes) -> StoredBlob: ...

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading from start to end. The read that reaches the end checks the digest."""
        ...

    def open_at(self, sha256: str, start: int) -> BinaryIO:
        """Open for reading from a byte on. What is read is not checked: it is a part alone."""
        ...

    def exists(self, sha256: str) -> bool: ...

    def delete(self, sha256: str) -> None:
        """Remove a blob. One that is not there is no error."""
        ...


class LocalStore:
    """A folder: `<root>/<first two digits>/<sha256>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: Path) -> StoredBlob:
        """Copy a file in.

        Raises:
            StorageFullError: There is no room. Nothing is left behind.
            OSError: The file cannot be read, or the folder not be written.
        """
        with path.open("rb") as source:
            return self._store(source, path.stat().st_size)

    def put_bytes(self, data: bytes) -> StoredBlob:
        """Store bytes; see `put`."""
        return self._store(io.BytesIO(data), len(data))

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            FileNotFoundError: There is no such blob.
            CorruptBlobError: From the read that reaches the end, if the content is not what it was.
        """
        return io.BufferedReader(_Verified(self._path(sha256), sha256), CHUNK)

    def open_at(self, sha256: str, start: int) -> BinaryIO:
        """Open a blob for reading from byte `start` on.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        blob = self._path(sha256).open("rb")
        blob.seek(start)
        return blob

    def exists(self, sha256: str) -> bool:
        return self._path(sha256).is_file()

    def delete(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def verify(self, sha256: str) -> None:
        """Read a blob to the end; see `open` for what may be wrong."""
        with self.open(sha256) as blob:
            while blob.read(CHUNK):
                pass

    def _store(self, source: BinaryIO, size: int) -> StoredBlob:
        self._root.mkdir(parents=True, exist_ok=True)
        temporary = self._root / f".{uuid.uuid4().hex}.tmp"
        with _or_nothing(temporary, size):
            blob = _copy(source, temporary)
            final = self._path(blob.sha256)
            final.parent.mkdir(exist_ok=True)
            temporary.replace(final)
            _sync_folder(final.parent)
            _sync_folder(self._root)
        return blob

    def _path(self, sha256: str) -> Path:
        if len(sha256) != _DIGEST_LENGTH or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"no sha256: {sha256!r}")
        return self._root / sha256[:2] / sha256


def free_bytes(folder: Path) -> int:
    """Return the room on the disk that holds `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _copy(source: BinaryIO, target: Path) -> StoredBlob:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return StoredBlob(digest.hexdigest(), size)


@contextmanager
def _or_nothing(temporary: Path, size: int) -> Generator[None]:
    """Leave no half-written file, and say so where the disk is full."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageFullError(size) from error
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Verified(io.RawIOBase):
    """Hashes what is read, and compares at the end."""

    def __init__(self, path: Path, sha256: str) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        if count == 0 and self._digest.hexdigest() != self._sha256:
            raise CorruptBlobError(self._sha256)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
