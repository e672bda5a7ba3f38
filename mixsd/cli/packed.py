"""A folder with an adapter as an archive to send."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mixsd.cli.client import ServiceError

_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
_TYPES: Final = {".gz": "application/gzip", ".tgz": "application/gzip", ".zip": "application/zip"}


@contextmanager
def packed(source: Path) -> Iterator[tuple[Path, str]]:
    """Give an archive of what is there, and its type. Of a folder the two files alone are taken.

    Raises:
        ServiceError: It is neither an archive that the service reads nor a folder.
        OSError: A file is missing or cannot be read.
    """
    if source.is_dir():
        with tempfile.TemporaryDirectory(prefix="mixsd-") as folder:
            archive = Path(folder) / "adapter.tar.gz"
            with tarfile.open(archive, "w:gz", compresslevel=1) as out:
                for name in _FILES:
                    out.add(source / name, f"adapter/{name}")
            yield archive, _TYPES[".gz"]
        return
    if source.suffix not in _TYPES:
        raise ServiceError(f"{source} is no folder, and no .tar.gz or .zip file")
    yield source, _TYPES[source.suffix]
