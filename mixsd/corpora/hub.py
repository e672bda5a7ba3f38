"""Data sets of the Hub, through the package `datasets`, which is not needed for anything else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final

from mixsd.corpora.entries import Entry
from mixsd.corpora.errors import CorpusError, NoExtraError


@dataclass(frozen=True, slots=True)
class HubSet:
    """Where a data set lies. `file` is one file of it, if not all are meant."""

    id: str
    split: str = "train"
    file: str = ""


KNOWN: Final[Mapping[str, HubSet]] = MappingProxyType(
    {
        "simpleqa": HubSet("basicv8vc/SimpleQA", "test"),
        "knowedit": HubSet("zjunlp/KnowEdit", file="benchmark/ZsRE/ZsRE-test-all.json"),
        "counterfact": HubSet("azhx/counterfact"),
    }
)
"""What `hub` alone stands for."""


def hub_set(name: str, source: str) -> HubSet:
    """Read `hub` or `hub:OWNER/NAME`, with `:SPLIT` and `:FILE` behind it if need be.

    Raises:
        CorpusError: It names no data set, or the corpus has no usual one.

    Example:
        >>> hub_set("zsre", "hub:someone/zsre:test")
        HubSet(id='someone/zsre', split='test', file='')
    """
    _, *parts = source.split(":")
    if not parts:
        if name not in KNOWN:
            raise CorpusError(f"{name} has no usual place on the Hub: give hub:OWNER/NAME or a local file")
        return KNOWN[name]
    if len(parts) > 3 or not all(parts) or parts[0].count("/") != 1:
        raise CorpusError(f"{source} names no data set: hub:OWNER/NAME, hub:OWNER/NAME:SPLIT:FILE")
    return HubSet(*parts)


def entries_on(hub: HubSet) -> Iterator[Entry]:
    """Yield the entries of a data set.

    Raises:
        NoExtraError: `datasets` is not installed.
        CorpusError: The data set cannot be had.
    """
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise NoExtraError(
            "reading from the Hub needs `datasets`: pip install 'mixsd[corpora]', or give a local file"
        ) from None
    wanted = f"{hub.id}, {hub.file or hub.split}"
    try:
        rows = datasets.load_dataset(hub.id, split=hub.split, data_files=hub.file or None)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CorpusError(
            f"{wanted} cannot be had from the Hub; download it and give the file: {reason}"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Entry(number, f"{hub.id}, entry {number}", row)
