"""A corpus on disk: facts, splits and a list of them with digests. Whole or not there."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mixsd.corpora.errors import CorpusError, CorpusExistsError
from mixsd.durable import whole_folder
from mixsd.facts import Fact
from mixsd.intake.reading import parse_jsonl

FACTS: Final = "facts.jsonl"
LIST: Final = "corpus.json"

Row = dict[str, Any]
"""A line of a split: `key`, `question`, `answer`, and what else belongs to it."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is taught, what is asked beside it, and how it came about.

    Attributes:
        facts: To teach, as `mixsd inject` takes them.
        splits: Questions by the name of their file, without suffix. Empty ones are not written.
        settings: What makes the same corpus again.
        notes: What a reader should know, such as entries that were left out.
    """

    name: str
    facts: Sequence[Fact]
    splits: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write(corpus: Corpus, out: Path) -> dict[str, Any]:
    """Write the corpus to the folder `out` and return what `corpus.json` says.

    The digest covers the names and the bytes of all files but `corpus.json`.

    Raises:
        FactsError: A fact is not one that the project takes; nothing is written.
        CorpusExistsError: The folder holds anything but this very corpus.
        CorpusError: The folder cannot be written.
        DiskFullError: There was no room.
    """
    out = out.absolute()
    contents = {FACTS: _lines(fact.to_json() for fact in corpus.facts)}
    contents |= {f"{name}.jsonl": _lines(rows) for name, rows in corpus.splits.items() if rows}
    parse_jsonl(contents[FACTS]).or_raise()
    document = _document(corpus, contents)
    contents[LIST] = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    try:
        if not _is_there(out, contents):
            with whole_folder(out, out.with_name(f".{out.name}.partial")) as partial:
                for name, data in contents.items():
                    (partial / name).write_bytes(data)
    except OSError as error:
        raise CorpusError(f"{out} cannot be written: {error.strerror}") from error
    return document


def _document(corpus: Corpus, contents: Mapping[str, bytes]) -> dict[str, Any]:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return {
        "name": corpus.name,
        "settings": dict(corpus.settings),
        "counts": {name: data.count(b"\n") for name, data in contents.items()},
        "files": digests,
        "sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "notes": list(corpus.notes),
    }


def _is_there(out: Path, contents: Mapping[str, bytes]) -> bool:
    """Tell whether the folder holds the corpus already.

    Raises:
        CorpusExistsError: It holds something else.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise CorpusExistsError(f"{out} is no folder; name another with --out")
    found = {path.name for path in out.iterdir()}
    if not found:
        return False
    if found != contents.keys():
        raise CorpusExistsError(f"{out} holds other files; name another folder or empty this one")
    for name, data in contents.items():
        if not (out / name).is_file() or (out / name).read_bytes() != data:
            raise CorpusExistsError(
                f"{out}/{name} holds another corpus; name another folder or empty this one"
            )
    return True


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
