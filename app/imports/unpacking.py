"""The two files of an adapter out of an archive that anybody may have made.

Nothing in it decides where something is written: what is wanted is written under names of ours, and all
else is passed over, or refused where it can only be meant ill.
"""

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from app.imports.errors import (
    ArchiveTooLargeError,
    MalformedArchiveError,
    UnknownArchiveError,
    UnsafeArchiveError,
    UnsafeWeightsError,
)
from app.storage import CHUNK

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
WANTED: Final = frozenset({WEIGHTS, CONFIG})
MOST_MEMBERS: Final = 1000

_PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_BLOCK: Final = tarfile.BLOCKSIZE
_MOST_EXTENSION: Final = 1 << 16
"""Bytes of what a tar file says more of a member: names, times. It is passed over."""
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_EXTENSIONS: Final = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_MOST_DIRECTORY: Final = 1 << 20
"""Bytes of the list of members of a zip file, which is read into memory."""
_TAIL: Final = 22 + (1 << 16)
_END: Final = struct.Struct("<4s4H2LH")
_DRAWN: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class Archive(StrEnum):
    TAR_GZ = "tar.gz"
    ZIP = "zip"


_BY_TYPE: Final[Mapping[str, Archive]] = {
    "application/gzip": Archive.TAR_GZ,
    "application/x-gzip": Archive.TAR_GZ,
    "application/x-tar+gzip": Archive.TAR_GZ,
    "application/zip": Archive.ZIP,
    "application/x-zip-compressed": Archive.ZIP,
}
TYPES: Final = ("application/gzip", "application/zip")
_BY_END: Final[Mapping[str, Archive]] = {
    ".tar.gz": Archive.TAR_GZ,
    ".tgz": Archive.TAR_GZ,
    ".zip": Archive.ZIP,
}


def archive_of(media_type: str, file_name: str) -> Archive:
    """Say which kind of archive a type, or else the end of a file's name, means.

    Raises:
        UnknownArchiveError: None that is read here.
    """
    if media_type in _BY_TYPE:
        return _BY_TYPE[media_type]
    for end, kind in _BY_END.items():
        if file_name.lower().endswith(end):
            return kind
    raise UnknownArchiveError(media_type, TYPES)


def unpack(file: BinaryIO, kind: Archive, folder: Path, *, most: int) -> None:
    """Write the two files of an adapter into `folder`, and nothing else.

    Args:
        file: The archive.
        kind: What it is.
        folder: An empty one.
        most: Bytes that all of the archive may come to.

    Raises:
        MalformedArchiveError: It cannot be read to its end, or a file is missing or there twice.
        ArchiveTooLargeError: It comes to more.
        UnsafeArchiveError: A member leads out of the folder, is a link or device, or is encrypted.
        UnsafeWeightsError: There are weights as a pickle.
    """
    file.seek(0)
    with _readable():
        _UNPACKERS[kind](file, folder, most)
    if missing := sorted(name for name in WANTED if not (folder / name).is_file()):
        raise MalformedArchiveError(
            f"the archive has no {missing[0]}: it must have {' and '.join(sorted(WANTED))}"
        )


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile) as error:
        raise MalformedArchiveError(f"the archive cannot be read, or ends in the middle: {error}") from error
    except (struct.error, NotImplementedError, UnicodeDecodeError, RuntimeError) as error:
        raise MalformedArchiveError("the archive is not as its kind should be") from error


class _Taking:
    """Writes what is wanted of an archive, and counts all that it comes to."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._left = self._most = most
        self._members = 0

    def target(self, name: str) -> Path | None:
        """Return where to write a file; None if nobody wants it. Raises as `unpack` does."""
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise UnsafeArchiveError(f"the archive has more than {MOST_MEMBERS} members")
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name.startswith("/")
            or ".." in parts
            or "\\" in name
            or "\0" in name
            or ":" in parts[0]
        ):
            raise UnsafeArchiveError(f"the archive has a member {_shown(name)}, which is no place within it")
        if PurePosixPath(name).suffix.lower() in _PICKLES:
            raise UnsafeWeightsError(
                f"the archive has {_shown(name)}: weights as a pickle can run code and are never read; "
                "save the adapter as safetensors"
            )
        if parts[-1] not in WANTED:
            return None
        target = self._folder / parts[-1]
        if target.exists():
            raise MalformedArchiveError(f"the archive has {parts[-1]} twice")
        return target

    def count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ArchiveTooLargeError(self._most)

    def write(self, read: Callable[[int], bytes], target: Path) -> None:
        with target.open("xb") as out:
            while piece := read(CHUNK):
                self.count(len(piece))
                out.write(piece)


def _untar(file: BinaryIO, folder: Path, most: int) -> None:
    """Read a tar file block by block: the module `tarfile` believes whatever sizes it finds."""
    taking = _Taking(folder, most)
    with gzip.GzipFile(fileobj=file) as plain:
        while (header := _exactly(plain, _BLOCK)).strip(b"\0"):
            taking.count(_BLOCK)
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if member.size < 0:
                raise MalformedArchiveError("the archive has a member of less than no bytes")
            if member.type in _EXTENSIONS:
                if member.size > _MOST_EXTENSION:
                    raise UnsafeArchiveError("the archive says more of a member than anybody needs to know")
                target = None
            elif member.type in _FILES:
                target = taking.target(member.name)
            elif member.type == tarfile.DIRTYPE:
                taking.target(f"{member.name}/directory")
                target = None
            else:
                raise UnsafeArchiveError(
                    f"the archive has {_shown(member.name)}, which is a link or a device"
                )
            _member(plain, member.size, target, taking)
        while rest := plain.read(CHUNK):  # at its end is the checksum of it all
            taking.count(len(rest))


def _member(plain: gzip.GzipFile, size: int, target: Path | None, taking: _Taking) -> None:
    """Take the content of a member, or pass it over."""
    left = size

    def read(most: int) -> bytes:
        nonlocal left
        piece = _exactly(plain, min(most, left)) if left else b""
        left -= len(piece)
        return piece

    if target is not None:
        taking.write(read, target)
    while piece := read(CHUNK):
        taking.count(len(piece))
    _exactly(plain, -size % _BLOCK)


def _exactly(plain: gzip.GzipFile, size: int) -> bytes:
    data = plain.read(size)
    if len(data) != size:
        raise EOFError("the end is missing")
    return data


def _unzip(file: BinaryIO, folder: Path, most: int) -> None:
    taking = _Taking(folder, most)
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.header_offset < 0:  # as the list of members may have it
                raise MalformedArchiveError("the list of members of the archive leads out of it")
            target = taking.target(member.filename)
            mode = member.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
                raise UnsafeArchiveError(
                    f"the archive has {_shown(member.filename)}, which is a link or a device"
                )
            if target is None or member.is_dir():
                continue
            if member.flag_bits & 1 or member.compress_type not in _DRAWN:
                raise UnsafeArchiveError(
                    f"{target.name} is encrypted, or packed in a way that is not read here"
                )
            with archive.open(member) as content:
                taking.write(content.read, target)


def _check_directory(file: BinaryIO) -> None:
    """Look at the size of the list of members before it is read into memory."""
    size = file.seek(0, 2)
    start = max(0, size - _TAIL)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise MalformedArchiveError(
            "the archive cannot be read, or ends in the middle: it has no list of members"
        )
    directory = _END.unpack_from(tail, at)[5]
    if directory > _MOST_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise UnsafeArchiveError("the list of members of the archive is larger than any adapter needs")
    file.seek(0)


def _shown(name: str) -> str:
    return repr(name[:100].encode(errors="replace").decode())


_UNPACKERS: Final[Mapping[Archive, Callable[[BinaryIO, Path, int], None]]] = {
    Archive.TAR_GZ: _untar,
    Archive.ZIP: _unzip,
}
