"""Folders that are complete or absent, whatever happens in between."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mixsd.errors import DiskFullError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def whole_folder(target: Path, partial: Path) -> Iterator[Path]:
    """Fill a folder under the name `partial`, then let it appear as `target`.

    Both must lie on one file system. A `partial` that a crash left behind is thrown away, an
    older `target` is replaced. Everything is on disk before the name is. Files end up readable
    for everyone. If the block raises, nothing is left behind.

    Raises:
        DiskFullError: There was no room.
    """
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync_tree(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        _swap(partial, target)
        _sync(target.parent)
    except Exception as error:
        if disk_is_full(error):
            raise DiskFullError(f"no room left to write {target.name}: free some space and retry") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file that is complete or absent, or is what it was before.

    Raises:
        DiskFullError: There was no room.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        if disk_is_full(error):
            raise DiskFullError(f"no room left to write {target.name}: free some space and retry") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def disk_is_full(error: Exception) -> bool:
    """Tell whether this is what a full disk raises. Native code hides the number in a text."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(f"(os error {number})" in str(error) for number in _FULL)


def sha256_of_file(path: Path) -> str:
    """Return the digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = partial.with_name(f"{partial.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    partial.rename(target)
    shutil.rmtree(old)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
