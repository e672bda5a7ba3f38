"""Reads Parquet: a column for each field. In a process of its own, with a limit of memory.

pyarrow is an extra, loads numpy, and is compiled code that meets bytes of strangers: none of that
belongs into the process that serves.
"""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO, ClassVar, Final

from mixsd.errors import MixsdError
from mixsd.facts import DATES, FIELDS, LISTS, PROBE_FIELDS, Problem
from mixsd.intake import parquet_child
from mixsd.intake.records import MAX_RECORD, BrokenFileError, Place, Record, Records
from mixsd.strict_json import JsonProblem, inspect

MEMORY: Final = 4 << 30
"""Bytes of address space of the process. Most of it is reserved and never used."""
SECONDS: Final = 600
"""Of processor time."""
MAX_GROUPS: Final = 10_000
"""Most row groups of a file."""
INSTALL: Final = "pip install 'mixsd[parquet]'"
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
"""Variables that the process gets. Others may hold passwords, which are none of its business."""
_UNREADABLE: Final = "it is no Parquet file that can be read, or reading it takes too much memory"


class NoParquetError(MixsdError):
    """This installation reads no Parquet."""

    code: ClassVar[str] = "missing_extra"


def is_installed() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def records(file: BinaryIO) -> Records:
    """Yield the rows of a file. What is null counts as absent.

    Raises:
        NoParquetError: pyarrow is not installed.
        BrokenFileError: It is no Parquet, or a column is none of facts.
    """
    if not is_installed():
        raise NoParquetError(f"reading Parquet needs pyarrow: {INSTALL}")
    with tempfile.TemporaryFile() as copy:
        child = _start(_on_disk(file, copy))
        ended = False
        try:
            for number, line in enumerate(_lines(child), start=1):
                said = json.loads(line)
                ended = "end" in said
                if not ended:
                    yield _record(said, number)
        except ValueError:  # it ended in the middle of a line
            ended = False
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
    if not ended:
        raise BrokenFileError("malformed_parquet", _UNREADABLE)


def _lines(child: "subprocess.Popen[bytes]") -> BinaryIO:
    assert child.stdout is not None  # noqa: S101  it is a pipe
    return child.stdout  # type: ignore[return-value]


def _on_disk(file: BinaryIO, copy: BinaryIO) -> int:
    """Return a descriptor of a file, of a copy if it is in memory alone."""
    file.seek(0)
    try:
        return file.fileno()
    except io.UnsupportedOperation:
        shutil.copyfileobj(file, copy)
        copy.flush()
        return copy.fileno()


def _start(descriptor: int) -> "subprocess.Popen[bytes]":
    asked = {
        "memory": MEMORY,
        "seconds": SECONDS,
        "groups": MAX_GROUPS,
        "characters": MAX_RECORD,
        "fields": FIELDS,
        "lists": LISTS,
        "dates": DATES,
        "probe_fields": PROBE_FIELDS,
    }
    return subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", parquet_child.__file__, json.dumps(asked)],
        stdin=descriptor,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    )


def _record(said: dict[str, Any], row: int) -> Record | Problem:
    if "broken" in said:
        code, detail, column = said["broken"]
        raise BrokenFileError(code, detail, None, column)
    if "too_long" in said:
        return Problem("too_long", f"a fact has at most {MAX_RECORD} characters", row)
    columns: dict[str, int] = said["columns"]
    try:
        inspect(said["row"])
    except JsonProblem as error:
        return Problem(error.code, error.detail, row)

    def place_of(pointer: str) -> Place:
        return row, columns.get(pointer.split("/")[1]) if pointer else None

    return Record(said["row"], row, "", place_of)
