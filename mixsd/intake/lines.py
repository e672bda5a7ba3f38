"""Reads JSONL: one fact a line. Only newlines part lines, blank ones are skipped."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from mixsd.facts import MAX_LINE, Problem
from mixsd.intake.places import offset_of
from mixsd.intake.records import Place, Record, Records
from mixsd.intake.sources import start
from mixsd.strict_json import JsonProblem, decode

_TOO_LONG: Final = f"a line has at most {MAX_LINE} bytes"


def records(file: BinaryIO) -> Records:
    """Yield the records of a file. A line that is no JSON is a problem, and the next one is read.

    Raises:
        BrokenFileError: The file is not UTF-8 at all.
    """
    start(file)
    for number, raw in enumerate(_lines(file), start=1):
        if len(raw) > MAX_LINE:
            yield Problem("line_too_long", _TOO_LONG, line=number)
        elif raw.strip():
            try:
                value = decode(raw)
            except JsonProblem as error:
                yield Problem(error.code, error.detail, line=number, column=error.column)
            else:
                yield Record(value, number, "", _Columns(raw, number))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines without their ends. Of one that is too long there is only the beginning."""
    while line := file.readline(MAX_LINE + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        yield line.removesuffix(b"\n")


class _Columns:
    """Finds columns in a line, if somebody asks."""

    __slots__ = ("_line", "_raw")

    def __init__(self, raw: bytes, line: int) -> None:
        self._raw, self._line = raw, line

    def __call__(self, pointer: str) -> Place:
        return self._line, offset_of(self._raw.decode(), 0, pointer) + 1 if pointer else None
