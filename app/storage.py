"""Where the bytes of adapters, exports and uploads lie. Named by their content, they are never changed.

What every store promises, and the one that is a folder; `app.s3` has another.
"""

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Protocol

from app.errors import InsufficientStorageError, UnavailableError

CHUNK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DIGEST_LENGTH: Final = 64


class StorageFullError(InsufficientStorageError):
    code: ClassVar[str] = "storage_full"

    def __init__(self, need: int) -> None:
        super().__init__(f"there is no room for {need} more bytes: make room, then try again")


class StoreUnavailableError(UnavailableError):
    """The store is elsewhere, and does not do what it is asked. The message is for the operator."""

    code: ClassVar[str] = "store_unavailable"


class StoreMisconfiguredError(StoreUnavailableError):
    """The store will not do it a moment later either: somebody has to change something first."""


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


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store has under a name. `age` is the seconds since that was last put."""

    name: str
    bytes: int
    age: float


class ArtifactStore(Protocol):
    """Keeps files under the digest of their content. What was put is there, whole, until deleted.

    Every method of a store that is elsewhere may raise `StoreUnavailableError`.
    """

    def put(self, path: Path) -> StoredBlob:
        """Copy a file in. Putting the same content twice is harmless."""
        ...

    def put_bytes(self, data: bytes) -> StoredBlob: ...

    def put_file(self, file: BinaryIO) -> StoredBlob:
        """Copy a file in that is open for reading, all of it."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading from start to end. The read that reaches the end checks the digest."""
        ...

    def open_at(self, sha256: str, start: int) -> BinaryIO:
        """Open for reading from a byte on. What is read is not checked: it is a part alone."""
        ...

    def exists(self, sha256: str) -> bool: ...

    def age(self, sha256: str) -> float | None:
        """Return the seconds since the blob was last put; None if it is not there."""
        ...

    def verify(self, sha256: str) -> None:
        """Read a blob to the end; see `open` for what may be wrong."""
        ...

    def delete(self, sha256: str) -> None:
        """Remove a blob. One that is not there is no error."""
        ...

    def blobs(self) -> Iterator[Kept]:
        """List what is there, also what has a name that no blob can have.

        What is put or deleted meanwhile may or may not be among it.
        """
        ...

    def begun(self) -> Iterator[Kept]:
        """List what a process began to put and has not ended, or never will. Its bytes may be unknown: 0."""
        ...

    def forget_begun(self, *, older_than: timedelta) -> int:
        """Remove what was begun so long ago. Returns how many."""
        ...

    def link(self, sha256: str, *, disposition: str, media_type: str) -> str | None:
        """Return an address from which whoever has it may fetch the blob for a while, if there is one.

        `disposition` and `media_type` are headers of the answer there.
        """
        ...

    def check(self) -> None:
        """Find out whether the store can be used at all.

        Raises:
            StoreMisconfiguredError: Not as it is set up.
            StoreUnavailableError: It does not answer now.
        """
        ...

    def close(self) -> None:
        """Let connections go. The store can be used again all the same."""
        ...


class LocalStore:
    """A folder: `<root>/<first two digits>/<sha256>`. A link in place of a blob is none."""

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

    def put_file(self, file: BinaryIO) -> StoredBlob:
        """Store an open file; see `put`."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return self._store(file, size)

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            FileNotFoundError: There is no such blob.
            CorruptBlobError: From the read that reaches the end, if the content is not what it was.
        """
        return io.BufferedReader(Verified(_open(self._path(sha256)), sha256), CHUNK)

    def open_at(self, sha256: str, start: int) -> BinaryIO:
        """Open a blob for reading from byte `start` on.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        blob = _open(self._path(sha256))
        blob.seek(start)
        return io.BufferedReader(blob, CHUNK)

    def exists(self, sha256: str) -> bool:
        path = self._path(sha256)
        return path.is_file() and not path.is_symlink()

    def age(self, sha256: str) -> float | None:
        kept = _kept(self._path(sha256))
        return None if kept is None else kept.age

    def delete(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def verify(self, sha256: str) -> None:
        """Read a blob to the end; see `open` for what may be wrong."""
        read_to_the_end(self.open(sha256))

    def blobs(self) -> Iterator[Kept]:
        for folder in sorted(self._root.glob("??")):
            for path in folder.iterdir() if folder.is_dir() else ():
                if kept := _kept(path):
                    yield kept

    def begun(self) -> Iterator[Kept]:
        for path in sorted(self._root.glob(".*.tmp")):
            if kept := _kept(path):
                yield kept

    def forget_begun(self, *, older_than: timedelta) -> int:
        old = [kept.name for kept in self.begun() if kept.age > older_than.total_seconds()]
        for name in old:
            (self._root / name).unlink(missing_ok=True)
        return len(old)

    def link(self, sha256: str, *, disposition: str, media_type: str) -> str | None:
        """Return None: what lies in a folder is sent by us."""
        return None

    def check(self) -> None:
        """Do nothing: the folder is made when it is needed."""

    def close(self) -> None:
        """Do nothing."""

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
        return self._root / checked(sha256)[:2] / sha256


def is_digest(name: str) -> bool:
    """Say whether a blob can have that name."""
    return len(name) == _DIGEST_LENGTH and set(name) <= set("0123456789abcdef")


def checked(sha256: str) -> str:
    """Return a digest as it is.

    Raises:
        ValueError: It is none, and must not become part of a path or a key.
    """
    if not is_digest(sha256):
        raise ValueError(f"no sha256: {sha256!r}")
    return sha256


def read_to_the_end(blob: BinaryIO) -> None:
    """Read a blob and close it, so that its digest is compared."""
    with blob:
        while blob.read(CHUNK):
            pass


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


def _open(path: Path) -> io.FileIO:
    """Open a file for reading, but no link to one.

    Raises:
        FileNotFoundError: There is none, or a link.
    """
    try:
        return io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, "it is a link", str(path)) from error
        raise


def _kept(path: Path) -> Kept | None:
    """Look at a file; None if it is gone."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return None
    return Kept(path.name, known.st_size, time.time() - known.st_mtime)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Verified(io.RawIOBase):
    """Hashes what is read, and compares at the end. Closes what it reads from."""

    def __init__(self, source: io.RawIOBase, sha256: str) -> None:
        super().__init__()
        self._source = source
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._source.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        if count == 0 and self._digest.hexdigest() != self._sha256:
            raise CorruptBlobError(self._sha256)
        return count

    def close(self) -> None:
        self._source.close()
        super().close()
