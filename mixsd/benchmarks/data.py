"""Data sets of benchmarks: from a file or a folder, else from the Hub. Every row is checked."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mixsd.benchmarks import rows
from mixsd.benchmarks.errors import BenchmarkDataError, BenchmarkError, NoBenchmarkExtraError
from mixsd.benchmarks.rows import Row
from mixsd.corpora.entries import Entry, bytes_of, entries_in
from mixsd.corpora.errors import CorpusError

SUFFIXES: Final = (".jsonl", ".json", ".parquet")
INSTALL: Final = "pip install 'mixsd[benchmarks]'"

_IDS: Final = ("id", "task_id", "unique_id")
_TOLD: Final = 5
"""Mistakes that a message lists."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set, and where it lies unless a file is given.

    Attributes:
        hub: Its id on the Hub; `config` the part of it.
        splits: Where items may come from. The first is that of the Hub; a folder may have another.
        shots: Where worked examples come from, in the same way. Empty: there are none.
        read: Checks a row.
        texts: Whether a plain text of pages, as WikiText comes in, will do.
        fields: What a row holds, for messages.
    """

    name: str
    hub: str
    config: str | None
    splits: tuple[str, ...]
    read: Callable[[Entry], Row]
    fields: str
    shots: tuple[str, ...] = ()
    texts: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """Rows to ask, and those that stand as worked examples before them.

    Attributes:
        origin: Names of the files, or the place on the Hub.
        sha256: Digest of the rows and of the examples, in their order.
    """

    name: str
    origin: str
    rows: tuple[Row, ...]
    shots: tuple[Row, ...] = ()
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        data = json.dumps([self.rows, self.shots], sort_keys=True).encode()
        object.__setattr__(self, "sha256", hashlib.sha256(data).hexdigest())

    def first(self, limit: int | None) -> "Items":
        """Return the first `limit` items. Where rows have a `subject`, subjects take turns."""
        if limit is None or limit >= len(self.rows):
            return self
        seen: dict[str, int] = {}
        turns = []
        for place, row in enumerate(self.rows):
            subject = str(row.get("subject", place))
            seen[subject] = seen.get(subject, -1) + 1
            turns.append((seen[subject] if "subject" in row else 0, place))
        chosen = sorted(place for _, place in sorted(turns)[:limit])
        return replace(self, rows=tuple(self.rows[place] for place in chosen))

    def without_shots(self) -> "Items":
        return replace(self, shots=())


DATA_SETS: Final[Mapping[str, DataSet]] = MappingProxyType(
    {
        data.name: data
        for data in (
            DataSet(
                "arc_easy",
                "allenai/ai2_arc",
                "ARC-Easy",
                ("test", "validation"),
                rows.arc,
                "question, choices, gold",
            ),
            DataSet("piqa", "baber/piqa", None, ("validation", "test"), rows.piqa, "goal, choices, gold"),
            DataSet(
                "hellaswag",
                "Rowan/hellaswag",
                None,
                ("validation", "test"),
                rows.hellaswag,
                "activity_label, ctx_a, ctx_b, endings, gold",
            ),
            DataSet(
                "lambada_openai",
                "EleutherAI/lambada_openai",
                "default",
                ("test", "validation"),
                rows.lambada,
                "text",
            ),
            DataSet(
                "wikitext",
                "EleutherAI/wikitext_document_level",
                "wikitext-2-raw-v1",
                ("test", "validation"),
                rows.wikitext,
                "page",
                texts=True,
            ),
            DataSet(
                "mmlu",
                "cais/mmlu",
                "all",
                ("test", "validation"),
                rows.mmlu,
                "question, subject, choices, gold",
                shots=("dev",),
            ),
            DataSet(
                "gsm8k",
                "openai/gsm8k",
                "main",
                ("test", "validation"),
                rows.gsm8k,
                "question, answer",
                shots=("train",),
            ),
            DataSet("math500", "HuggingFaceH4/MATH-500", None, ("test",), rows.math500, "problem, answer"),
            DataSet(
                "aime2024",
                "HuggingFaceH4/aime_2024",
                None,
                ("train", "test"),
                rows.aime,
                "problem, answer",
            ),
            DataSet(
                "humaneval",
                "openai/openai_humaneval",
                None,
                ("test",),
                rows.humaneval,
                "task_id, prompt, entry_point, test",
            ),
        )
    }
)


def items_of(name: str, path: Path | None, *, shots: bool = False) -> Items:
    """Read a data set of `DATA_SETS` from a file, from a folder with a file for each split, or the Hub.

    Args:
        name: Of the data set.
        path: A file of the items, or a folder. Worked examples are sought in the same folder.
            None: the Hub.
        shots: Whether worked examples are wanted.

    Raises:
        BenchmarkDataError: It cannot be had, or rows are wrong; the message says which and what to do.
        NoBenchmarkExtraError: A package is missing that reads it.
    """
    data = DATA_SETS[name]
    if path is None:
        found = _checked(data, _on_hub(data, data.splits[0]))
        examples = _checked(data, _on_hub(data, data.shots[0])) if shots else ()
        place = ", ".join(filter(None, (data.hub, data.config, data.splits[0])))
        return Items(name, f"hub:{place}", found, examples)
    files = _files(data, path, data.splits, alone=True)
    found = _checked(data, _entries(files))
    examples = ()
    if shots:
        folder = path if path.is_dir() else path.parent
        examples = _checked(data, _entries(_files(data, folder, data.shots, alone=False)))
    return Items(name, ", ".join(file.name for file in files), found, examples)


def check_shots(name: str, items: Items, wanted: int, *, by_subject: bool) -> None:
    """Refuse items before which too few worked examples can be shown.

    Raises:
        BenchmarkDataError: Says which, and how many there are.
    """
    if not wanted:
        return
    subjects = {row["subject"] for row in items.rows} if by_subject else {""}
    there = Counter(row["subject"] if by_subject else "" for row in items.shots)
    for subject in sorted(subjects):
        if there[subject] < wanted:
            of = f" of {subject}" if subject else ""
            raise BenchmarkDataError(
                f"{name} shows {wanted} worked examples{of}, and the data have {there[subject]}"
            )


def place_of(name: str, paths: Mapping[str, Path], folder: Path | None) -> Path | None:
    """Return where a data set lies here: what was said for it, else what the folder of all has.

    That is `FOLDER/NAME`, or a single file `FOLDER/NAME.jsonl`, `.json`, `.parquet` or `.txt`.

    Raises:
        BenchmarkDataError: There is no such file or folder as was said.
    """
    if name in paths:
        if not paths[name].exists():
            raise BenchmarkDataError(f"{name}: there is no file or folder {paths[name]}")
        return paths[name]
    if folder is None:
        return None
    if not folder.is_dir():
        raise BenchmarkDataError(f"{folder} is no folder of data sets")
    options = [folder / name, *(folder / f"{name}{suffix}" for suffix in (*SUFFIXES, ".txt"))]
    return next((path for path in options if path.exists()), None)


def paths_from(pairs: Iterable[str], known: Mapping[str, str]) -> dict[str, Path]:
    """Read `NAME=PATH` as they come on the command line.

    Args:
        known: The data set that each name stands for.

    Raises:
        BenchmarkError: It is not of this form, or the name stands for none.
    """
    paths = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise BenchmarkError(f"--data {pair}: expected SUITE=PATH")
        if name not in known:
            raise BenchmarkError(f"--data {pair}: {name} reads no file; those that do: {', '.join(known)}")
        paths[known[name]] = Path(path)
    return paths


def _checked(data: DataSet, entries: Iterable[Entry]) -> tuple[Row, ...]:
    """Return the rows; all that are wrong are told at once."""
    found: dict[str, Row] = {}
    places: dict[str, str] = {}
    problems = []
    try:
        for entry in entries:
            try:
                name = _id_of(entry)
                if name in places:
                    raise entry.wrong("id", f"is {name!r}, as in {places[name]}")
                found[name] = {"id": name, **data.read(entry)}
                places[name] = entry.place
            except CorpusError as error:
                problems.append(str(error))
    except CorpusError as error:  # of the file as a whole
        raise BenchmarkDataError(f"{data.name}: {error}") from error
    if problems:
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        told = "; ".join(problems[:_TOLD])
        raise BenchmarkDataError(f"{data.name}: {told}{more}. A row holds {data.fields}")
    if not found:
        raise BenchmarkDataError(f"{data.name}: there is not one row")
    return tuple(found.values())


def _id_of(entry: Entry) -> str:
    given = next((value for name in _IDS if (value := entry.get(name)) is not None), entry.number)
    return str(given)


def _files(data: DataSet, path: Path, splits: Sequence[str], *, alone: bool) -> list[Path]:
    """Return the files of the first split that there is; `alone` takes a single file of any name."""
    if path.is_file():
        return [path]
    suffixes = (*SUFFIXES, ".txt") if data.texts else SUFFIXES
    there = sorted(file for file in path.iterdir() if file.suffix in suffixes and file.is_file())
    for split in splits:
        found = [
            file for file in there if file.stem == split or file.stem.startswith((f"{split}_", f"{split}-"))
        ]
        if found:
            return found
    if alone and len(there) == 1:
        return there
    wanted = " or ".join(f"{split}{suffixes[0]}" for split in splits)
    listed = ", ".join(file.name for file in there) or "no file of rows"
    use = "" if alone else "as worked examples "
    raise BenchmarkDataError(
        f"{data.name}: {use}{wanted} is wanted in {path}, which has {listed}. A row holds {data.fields}"
    )


def _entries(files: Sequence[Path]) -> Iterator[Entry]:
    number = 0
    for file in files:
        for entry in _of_file(file):
            number += 1
            yield replace(entry, number=number)


def _of_file(file: Path) -> Iterator[Entry]:
    match file.suffix:
        case ".txt":
            return _pages(file)
        case ".parquet":
            return _of_parquet(file)
        case _:
            return entries_in(file)


def _pages(file: Path) -> Iterator[Entry]:
    """Part a text as WikiText is printed into its pages, which begin with ` = Title = `."""
    lines = bytes_of(file).decode(errors="replace").splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if _is_title(line)]
    bounds = [0, *(start for start in starts if start), len(lines)]
    number = 0
    for start, stop in pairwise(bounds):
        page = "".join(lines[start:stop])
        if page.strip():
            number += 1
            yield Entry(number, f"{file.name}, line {start + 1}", {"page": page})


def _is_title(line: str) -> bool:
    text = line.strip()
    return text.startswith("= ") and text.endswith(" =") and not text.startswith("= =") and len(text) > 4


def _of_parquet(file: Path) -> Iterator[Entry]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise NoBenchmarkExtraError(f"reading {file.name} needs pyarrow: {INSTALL}") from None
    try:
        listed = parquet.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise BenchmarkDataError(f"{file.name} is no Parquet file: {_first_line(error)}") from error
    for number, row in enumerate(listed, start=1):
        yield Entry(number, f"{file.name}, row {number}", row)


def _on_hub(data: DataSet, split: str) -> Iterator[Entry]:
    place = ", ".join(filter(None, (data.hub, data.config, f"split {split}")))
    local = f"--data {data.name}=PATH, a file of {data.fields}"
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise NoBenchmarkExtraError(
            f"{place}: reading from the Hub needs `datasets`: {INSTALL}; or give {local}"
        ) from None
    try:
        listed = datasets.load_dataset(data.hub, data.config, split=split)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise BenchmarkDataError(
            f"{data.name}: {place} cannot be had from the Hub ({_first_line(error)}). "
            f"Download it elsewhere and give {local}"
        ) from error
    for number, row in enumerate(listed, start=1):
        yield Entry(number, f"{data.hub}, {split}, row {number}", row)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
