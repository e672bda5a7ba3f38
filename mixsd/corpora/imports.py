"""From entries of a data set to a corpus: double questions, limits, splits and the list of edits."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mixsd.corpora.entries import Entry, bytes_of, entries_in
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.hub import entries_on, hub_set
from mixsd.corpora.writing import Corpus, Row
from mixsd.facts import MAX_LIST, Fact
from mixsd.intake.reading import parse_objects

SPLIT_OF_KIND: Final[Mapping[str, str]] = {
    "reversed": "reversed",
    "hop": "compositional",
    "neighbour": "neighbour",
    "other": "other",
}
"""File of the probes of each kind."""


@dataclass(frozen=True, slots=True)
class Item:
    """A fact, and for an edit what was true before."""

    fact: Fact
    target_true: str = ""


@dataclass(slots=True)
class Draft:
    """What a reader made of the entries."""

    items: list[Item] = field(default_factory=list)
    splits: dict[str, list[Row]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def entries_from(name: str, source: str) -> tuple[Iterable[Entry], dict[str, str]]:
    """Return the entries of a file, or of the Hub if `source` begins with `hub`, and what to note.

    Raises:
        CorpusError: The source cannot be read.
    """
    if source == "hub" or source.startswith("hub:"):
        hub = hub_set(name, source)
        return entries_on(hub), {"from": f"hub:{hub.id}:{hub.split}" + (f":{hub.file}" if hub.file else "")}
    return entries_in(Path(source)), described(Path(source))


def described(path: Path) -> dict[str, str]:
    """Return name and digest of a file.

    Raises:
        CorpusError: It cannot be read.
    """
    return {"from": path.name, "from_sha256": hashlib.sha256(bytes_of(path)).hexdigest()}


def read_each(entries: Iterable[Entry], read: Callable[[Entry], Item]) -> Draft:
    """Make one fact of each entry. A question that was asked before is left out, and counted.

    Raises:
        CorpusError: An entry cannot be read, or makes a fact that the project does not take.
    """
    draft = Draft()
    asked: set[str] = set()
    places: dict[str, str] = {}
    dropped = 0
    for entry in entries:
        item = read(entry)
        item = replace(item, fact=fitting(item.fact))
        for problem in parse_objects([item.fact.to_json()]).problems:
            field_name = (problem.pointer or "").removeprefix("/0/")
            raise CorpusError(f"{entry.place}: `{field_name}`: {problem.detail}")
        if (question := folded(item.fact.question)) in asked:
            dropped += 1
            continue
        if (before := places.setdefault(item.fact.key, entry.place)) != entry.place:
            raise CorpusError(f"{entry.place}: `key`: {item.fact.key} is also at {before}")
        asked.add(question)
        draft.items.append(item)
    if dropped:
        draft.notes.append(f"{dropped} entries ask what an earlier one asks, and were left out")
    return draft


def assembled(name: str, draft: Draft, *, limit: int | None = None) -> Corpus:
    """Make a corpus of a draft: its first `limit` facts, their splits, and `edits` for what they change.

    Raises:
        CorpusError: There is nothing in it, or the limit is below 1.
    """
    check_limit(limit)
    items = draft.items[:limit]
    if not items:
        raise CorpusError("there is no entry in it")
    splits: dict[str, list[Row]] = {"paraphrase": []}
    for item in items:
        for row in _rows(item.fact):
            splits.setdefault(row.pop("split"), []).append(row)
    splits["edits"] = [_edit(item) for item in items if item.target_true]
    return Corpus(
        name=name,
        facts=[item.fact for item in items],
        splits=splits | draft.splits,
        settings=draft.settings | ({"limit": limit} if limit else {}),
        notes=draft.notes,
    )


def check_limit(limit: int | None) -> None:
    """Refuse a limit that leaves nothing.

    Raises:
        CorpusError: It is below 1.
    """
    if limit is not None and limit < 1:
        raise CorpusError(f"a limit is 1 or more, not {limit}")


def folded(text: str) -> str:
    """Return a question so that those that the fact reader takes for the same are equal."""
    return " ".join(text.casefold().split())


def fitting(fact: Fact) -> Fact:
    """Leave out what a fact says twice, and what is more than it may hold."""
    paraphrases = dict.fromkeys(text for text in fact.paraphrases if text != fact.question)
    return replace(
        fact,
        aliases=tuple(dict.fromkeys(alias for alias in fact.aliases if alias != fact.answer))[:MAX_LIST],
        paraphrases=tuple(paraphrases)[:MAX_LIST],
        probes=tuple(dict.fromkeys(fact.probes))[:MAX_LIST],
    )


def _rows(fact: Fact) -> Iterator[Row]:
    for question in fact.paraphrases:
        row = {"split": "paraphrase", "key": fact.key, "question": question, "answer": fact.answer}
        yield row | ({"aliases": list(fact.aliases)} if fact.aliases else {})
    for probe in fact.probes:
        row = {"split": SPLIT_OF_KIND[probe.kind], "key": fact.key}
        row |= {"question": probe.question, "answer": probe.answer}
        yield row | ({"aliases": list(probe.aliases)} if probe.aliases else {})


def _edit(item: Item) -> Row:
    fact = item.fact
    return {
        "key": fact.key,
        "question": fact.question,
        "answer": fact.answer,
        "subject": fact.subject,
        "relation": fact.relation,
        "target_true": item.target_true,
        "target_new": fact.answer,
    }
