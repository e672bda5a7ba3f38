"""Valid facts on their way into the database: out of memory, so that no transaction waits for a validator."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from mixsd.facts import Digest

_TAB: Final = b"\t"


class Kept:
    """Facts in the order in which they came, with size and digest of their canonical form."""

    def __init__(self, digest: Digest, file: BinaryIO) -> None:
        self._file = file
        self.digest = digest

    def add(self, key: str, line: bytes) -> None:
        """Take the line of the canonical form of a fact, which `digest` knows."""
        self._file.write(key.encode() + _TAB + line)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield key and JSON of each fact, in order."""
        self._file.seek(0)
        for line in self._file:
            key, _, body = line.rstrip(b"\n").partition(_TAB)
            yield key.decode(), body.decode()
