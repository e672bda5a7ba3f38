"""Folders with a manifest: a file that lists all others by their digests. Loads no torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mixsd.durable import sha256_of_file
from mixsd.errors import CorruptError

MANIFEST: Final = "MANIFEST.json"


def verify(folder: Path, manifest_sha256: str | None = None, *, contents: bool = True) -> str:
    """Check every file of a checkpoint against its manifest, and return the manifest's digest.

    Args:
        manifest_sha256: The digest under which it was registered.
        contents: Read the files; else only see that they are there.

    Raises:
        CorruptError: A file is missing, changed or too many, or the manifest is not the one named.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
        files: Mapping[str, str] = json.loads(manifest)["files"]
        found = {path.name for path in folder.iterdir()} - {MANIFEST}
        changed = _changed(folder, files) if contents else []
    except (OSError, ValueError, KeyError) as error:
        raise CorruptError(f"checkpoint {folder.name} cannot be read: {error}") from error
    wrong = sorted({*changed, *(found ^ files.keys())})
    if wrong:
        raise CorruptError(f"checkpoint {folder.name} is not complete or was changed: {', '.join(wrong)}")
    digest = hashlib.sha256(manifest).hexdigest()
    if manifest_sha256 not in (None, digest):
        raise CorruptError(f"checkpoint {folder.name} is another one than was registered")
    return digest


def _changed(folder: Path, files: Mapping[str, str]) -> list[str]:
    return [name for name, digest in files.items() if sha256_of_file(folder / name) != digest]
