"""Valid facts on their way into the database: out of memory, so that no transaction waits for a validator."""

import json
import tempfile
from collections.abc import Iterator
from typing import Final

from mixsd.facts import Digest, Fact

_IN_MEMORY: Final = 8_000_000
_TAB: Final = "\t"


class Kept:
    """Facts in the order in which they came, with size and digest of their canonical form."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115  it is closed by `close`
            _IN_MEMORY, "w+", encoding="utf-8", newline="\n"
        )
        self.digest = Digest()

    def add(self, fact: Fact) -> None:
        # As SQLAlchemy writes JSON, so that equal facts are equal texts whichever way they came.
        self._file.write(f"{fact.key}{_TAB}{json.dumps(fact.to_json())}\n")

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield key and JSON of each fact, in order."""
        self._file.seek(0)
        for line in self._file:
            key, _, body = line.rstrip("\n").partition(_TAB)
            yield key, body

    def close(self) -> None:
        self._file.close()
