"""The log of a job, as the supervisor of its runner writes it."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from app.live.logs import NEWEST, OLDER, PART_BYTES, mark, part_of

LOG: Final = NEWEST


class JobLog:
    """What the runner of an attempt prints, behind what earlier ones have.

    A log that cannot be written is given up: it must not block the runner.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._file = folder / LOG
        self._attempt = attempt
        self._part = self._there()
        if self._part:
            self._append(mark(self._part, attempt))

    def write(self, line: bytes) -> None:
        """Append a line, in a new part if this one is full."""
        if not self._part or self._is_full():
            self._begin_part()
        self._append(line.removesuffix(b"\n")[:PART_BYTES] + b"\n")

    def _there(self) -> int:
        """Return the number of the part that is there; 0 if there is none."""
        with suppress(OSError), self._file.open("rb") as file:
            return part_of(file.readline(PART_BYTES))
        return 0

    def _is_full(self) -> bool:
        with suppress(OSError):
            return self._file.stat().st_size > PART_BYTES
        return False

    def _begin_part(self) -> None:
        with suppress(OSError):
            if self._file.exists():
                self._file.replace(self._file.with_name(OLDER))
        self._part += 1
        self._append(mark(self._part, self._attempt))

    def _append(self, data: bytes) -> None:
        with suppress(OSError), self._file.open("ab") as file:
            file.write(data)
