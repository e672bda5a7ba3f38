"""What an analysis comes to, and its files. Loads no torch."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixsd.analysis.errors import NotAnalysableError
from mixsd.durable import whole_folder


@dataclass(frozen=True, slots=True)
class Result:
    """An analysis that was made.

    Attributes:
        name: Of its folder and files.
        body: All of it, as plain data: with `title`, `definition` and `notes`.
        header: Of the table.
        rows: Of the table.
    """

    name: str
    body: Mapping[str, Any]
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


def write(result: Result, out: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Write OUT/NAME with NAME.json, NAME.csv and NAME with the ending of each picture.

    The folder is complete or not there. One that is there from before is replaced.

    Args:
        result: What is written.
        out: Folder of all analyses.
        pictures: By format; none if there is nothing to draw with.

    Raises:
        NotAnalysableError: Something else lies there.
        DiskFullError: There was no room.
    """
    target, name = out / result.name, result.name
    if target.exists() and not (target / f"{name}.json").is_file():
        raise NotAnalysableError(f"{target} holds something else: choose another --out")
    text = json.dumps(result.body, indent=1, ensure_ascii=False, allow_nan=False)
    files = {
        f"{name}.json": text.encode() + b"\n",
        f"{name}.csv": _table(result.header, result.rows).encode(),
    }
    files |= {f"{name}.{kind}": data for kind, data in pictures.items()}
    with whole_folder(target, out / f".{name}.partial") as draft:
        for file, data in files.items():
            (draft / file).write_bytes(data)
    return [target / file for file in files]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
