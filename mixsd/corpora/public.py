"""Public data sets as corpora, by name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mixsd.corpora import readers
from mixsd.corpora.entries import Entry
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.imports import Draft, assembled, check_limit, described, entries_from
from mixsd.corpora.instructlab import instructlab
from mixsd.corpora.mquake import mquake
from mixsd.corpora.writing import Corpus

NAMES: Final = ("simpleqa", "mquake", "counterfact", "zsre", "knowedit", "instructlab", "csv")


def public(name: str, source: str, *, limit: int | None = None, seed: int = 42) -> Corpus:
    """Read a data set of `NAMES` from a file or, as `hub` or `hub:OWNER/NAME`, from the Hub.

    `seed` is for the order of SimpleQA and the choice of MQuAKE; the others keep the order that they have.

    Raises:
        CorpusError: The source cannot be read, an entry lacks a field, or the limit is below 1.
    """
    check_limit(limit)
    if name == "instructlab":
        path = Path(source)
        draft = instructlab(path)
        draft.settings |= described(path)
    else:
        entries, settings = entries_from(name, source)
        draft = _drafted(name, entries, limit, seed)
        draft.settings |= settings
    return assembled(name, draft, limit=limit)


def _drafted(name: str, entries: Iterable[Entry], limit: int | None, seed: int) -> Draft:
    match name:
        case "simpleqa":
            return readers.simpleqa(entries, seed=seed)
        case "mquake":
            return mquake(entries, limit=limit, seed=seed)
        case "counterfact":
            return readers.counterfact(entries)
        case "zsre":
            return readers.zsre(entries)
        case "knowedit":
            return readers.knowedit(entries)
        case "csv":
            return readers.table(entries)
        case _:
            raise CorpusError(f"there is no data set {name}: {', '.join(NAMES)}")
