"""Files and folders that are complete or absent. Nothing here loads torch."""

import errno
import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mixsd.errors import DiskFullError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def sha256_file(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """Give a folder to fill; it takes the name `target` once the body is done, and is on disk then.

    Whatever goes wrong, `target` is either the finished folder or what it was before.

    Raises:
        DiskFullError: There is no room for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        yield draft
        for path in sorted(draft.rglob("*")):
            if path.is_file():
                sync(path)
        sync(draft)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
        sync(target.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"no room left for {target.name}: free some space") from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_file(target: Path, data: bytes) -> None:
    """Write a file that is complete or absent.

    Raises:
        DiskFullError: There is no room for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(data)
        sync(draft)
        draft.replace(target)
        sync(target.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"no room left for {target.name}: free some space") from error
        raise
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk take a file's content, or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
