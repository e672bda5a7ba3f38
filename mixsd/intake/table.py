"""Reads CSV and TSV: the first line names the columns, every further row is a fact.

Cells are texts and stay as they are. An empty one says nothing. Texts of a list are parted by `|`.
A probe has two columns, such as `reversed_question` and `reversed_answer`; `probes` holds any number
of them as JSON.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from mixsd.facts import FIELDS, LISTS, PROBE_KINDS, Problem
from mixsd.intake.records import MAX_RECORD, BrokenFileError, Record, Records
from mixsd.intake.sources import Text
from mixsd.strict_json import JsonProblem, decode, inspect, shown

SEPARATOR: Final = "|"
PROBE_COLUMNS: Final = tuple(f"{kind}_{part}" for kind in PROBE_KINDS for part in ("question", "answer"))
COLUMNS: Final = (*FIELDS, *PROBE_COLUMNS)
_MAX_COLUMNS: Final = 256
_TOO_LONG: Final = f"a line has at most {MAX_RECORD} characters"


def records(file: BinaryIO, delimiter: str = "") -> Records:
    """Yield the records of a table. Without a `delimiter` the first line tells: comma, semicolon or tab.

    Raises:
        BrokenFileError: It is no such table.
    """
    text = Text(file)
    text.fill(0)
    delimiter = delimiter or delimiter_of(text.ahead.partition("\n")[0])
    rows = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    head: list[str] = []
    begins = 1
    try:
        for row in rows:
            line, begins = begins, rows.line_num + 1
            if not row:
                continue
            if not head:
                head = [name.strip() for name in row]
                yield from _refuse_head(head, line)
                continue
            if len(row) != len(head):
                detail = f"the row has {len(row)} cells, and the head {len(head)}"
                yield Problem("ragged_row", detail, line)
                continue
            yield _record(head, row, line)
    except csv.Error as error:
        detail = str(error).replace("\t", "\\t")
        raise BrokenFileError("malformed_csv", detail, begins) from None


def delimiter_of(head: str) -> str:
    """Return what parts the cells of a table, by its first line."""
    return next((mark for mark in ",;\t" if mark in head), ",")


def _lines(text: Text) -> Iterator[str]:
    """Yield lines with their ends. A carriage return alone ends none."""
    offset, number = 0, 0
    while True:
        offset = text.fill(offset)
        number += 1
        end = text.ahead.find("\n", offset) + 1 or len(text.ahead)
        if end - offset > MAX_RECORD:
            raise BrokenFileError("line_too_long", _TOO_LONG, number)
        if end == offset:
            return
        yield text.ahead[offset:end]
        offset = end


def _refuse_head(head: Sequence[str], line: int) -> Iterator[Problem]:
    """Say what is wrong with the names of the columns; then no row means anything.

    Raises:
        BrokenFileError: Behind the last problem, if there is one.
    """
    found: list[Problem] = []
    if len(head) > _MAX_COLUMNS:
        raise BrokenFileError("too_many", f"a table has at most {_MAX_COLUMNS} columns", line)
    for column, name in enumerate(head, start=1):
        if name in head[: column - 1]:
            detail = f"the column {shown(name)} is there twice"
            found.append(Problem("duplicate_column", detail, line, column))
        elif name not in COLUMNS:
            detail = f"{shown(name)} is no column of facts; the first line names them: {', '.join(COLUMNS)}"
            found.append(Problem("unknown_field", detail, line, column))
    found += [
        Problem("missing_field", f"there is no column `{name}`", line, pointer=f"/{name}")
        for name in ("question", "answer")
        if name not in head
    ]
    if found:
        yield from found[:-1]
        last = found[-1]
        raise BrokenFileError(last.code, last.detail, last.line, last.column, last.pointer)


def _record(head: Sequence[str], row: Sequence[str], line: int) -> Record | Problem:
    cells = {name: cell for name, cell in zip(head, row, strict=True) if cell}
    columns = {name: place for place, name in enumerate(head, start=1)}
    probes: Any = []
    for name, cell in cells.items():
        try:
            inspect(cell)
            probes = decode(cell.encode()) if name == "probes" else probes
        except JsonProblem as error:
            return Problem(error.code, error.detail, line, columns[name], f"/{name}")
    value: dict[str, Any] = {name: cell for name, cell in cells.items() if name in FIELDS}
    for name in LISTS:
        if name in value:
            value[name] = [text for part in value[name].split(SEPARATOR) if (text := part.strip())]
    sources: list[str] = []
    if isinstance(probes, list):
        sources = ["probes"] * len(probes)
        probes = [*probes, *_probes(cells, sources)]
    if probes:
        value["probes"] = probes

    def place_of(pointer: str) -> tuple[int, int | None]:
        name, _, rest = pointer.removeprefix("/").partition("/")
        if name == "probes" and sources:
            name = _column_of_probe(sources, rest)
        return line, columns.get(name)

    return Record(value, line, "", place_of)


def _probes(cells: Mapping[str, str], sources: list[str]) -> Iterator[dict[str, str]]:
    """Yield the probes that have columns of their own, and note in `sources` of which kind they are."""
    for kind in PROBE_KINDS:
        parts = {part: cell for part in ("question", "answer") if (cell := cells.get(f"{kind}_{part}"))}
        if parts:
            sources.append(kind)
            yield {"kind": kind, **parts}


def _column_of_probe(sources: Sequence[str], rest: str) -> str:
    number, _, part = rest.partition("/")
    source = sources[int(number)] if number.isdecimal() and int(number) < len(sources) else "probes"
    return source if source == "probes" else f"{source}_{part or 'question'}"
