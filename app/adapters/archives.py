"""One file out of many, made while it is sent. The same adapter gives the same bytes each time."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, Protocol

from typing_extensions import Buffer

from app.adapters.schemas import Format
from app.storage import CHUNK, ArtifactStore

FOLDER: Final = "adapter"
"""The archive unpacks into this folder, which is what `peft` wants to be given."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_BLOCK: Final = tarfile.BLOCKSIZE


class StoredFile(Protocol):
    """A row that names a file of the store."""

    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def bytes(self) -> int: ...


class _Pack(Protocol):
    def __call__(
        self, store: ArtifactStore, files: Sequence[StoredFile], folder: str, /
    ) -> Iterator[bytes]: ...


def check_stored(store: ArtifactStore, files: Sequence[StoredFile]) -> None:
    """Fail before the answer has begun, not in the middle of it."""
    for file in files:
        if not store.exists(file.sha256):
            raise FileNotFoundError(f"the blob {file.sha256} of {file.path} is not in the store")


def pack(
    store: ArtifactStore, files: Sequence[StoredFile], form: Format, *, folder: str = FOLDER
) -> Iterator[bytes]:
    """Yield an archive of `files`, piece by piece.

    Raises:
        CorruptBlobError: A stored file is not what it was. The archive then ends in the middle.
    """
    return _PACKERS[form](store, files, folder)


def _tar_gz(store: ArtifactStore, files: Sequence[StoredFile], folder: str) -> Iterator[bytes]:
    sink = _Sink()
    # Weights do not get smaller, so little effort is spent on them.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=sink, mtime=0) as packed:
        for file in files:
            packed.write(_tar_header(file, folder))
            for chunk in _read(store, file):
                packed.write(chunk)
                yield sink.take()
            packed.write(b"\0" * (-file.bytes % _BLOCK))
        packed.write(b"\0" * 2 * _BLOCK)
    yield sink.take()


def _tar_header(file: StoredFile, folder: str) -> bytes:
    info = tarfile.TarInfo(f"{folder}/{file.path}")
    info.size, info.mode, info.mtime = file.bytes, 0o644, 0
    return info.tobuf(tarfile.PAX_FORMAT)


def _zip(store: ArtifactStore, files: Sequence[StoredFile], folder: str) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:
        for file in files:
            info = zipfile.ZipInfo(f"{folder}/{file.path}", _EPOCH)
            info.external_attr, info.file_size = 0o644 << 16, file.bytes
            with packed.open(info, "w") as member:
                for chunk in _read(store, file):
                    member.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def _read(store: ArtifactStore, file: StoredFile) -> Iterator[bytes]:
    return chunks(store, file.sha256)


def chunks(store: ArtifactStore, sha256: str) -> Iterator[bytes]:
    """Yield the content of a blob, piece by piece."""
    with closing(store.open(sha256)) as blob:
        while chunk := blob.read(CHUNK):
            yield chunk


def part(store: ArtifactStore, sha256: str, wanted: range) -> Iterator[bytes]:
    """Yield some bytes of a blob. Only its reader, who puts the parts together, can check the digest."""
    left = len(wanted)
    with closing(store.open_at(sha256, wanted.start)) as blob:
        while left and (chunk := blob.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


_PACKERS: Final[Mapping[Format, _Pack]] = {Format.TAR_GZ: _tar_gz, Format.ZIP: _zip}


class _Sink(io.RawIOBase):
    """A file that hands on what was written to it. It cannot be sought, so archives are streams."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
