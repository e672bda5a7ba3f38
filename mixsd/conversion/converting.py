"""Conversion: every record that becomes a fact, and why the others do not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from mixsd.conversion import columns, graphs
from mixsd.conversion.chat import chat_item
from mixsd.conversion.kinds import Kind
from mixsd.corpora import instructlab, mquake, readers
from mixsd.corpora.entries import Entry, entries_in
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.imports import Item, fitting
from mixsd.facts import MAX_PROBLEMS, MAX_TEXT, Fact
from mixsd.intake.reading import parse_objects
from mixsd.intake.rules import folded


@dataclass(frozen=True, slots=True)
class Options:
    """What some kinds need to be told.

    Attributes:
        columns: Of a table: the field that each column stands for.
        templates: Of a graph: how its relations are put into words.
        language: Of a graph: which of several texts is taken.
        contexts: Of JSON-LD: files that stand for contexts that lie elsewhere.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    templates: Path | None = None
    language: str = "en"
    contexts: Mapping[str, Path] = field(default_factory=dict)


@dataclass(slots=True)
class Converted:
    """Facts, and in `problems` why others are none: at most `MAX_PROBLEMS`, of `total` ones."""

    facts: list[Fact] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    total: int = 0
    notes: list[str] = field(default_factory=list)

    def refuse(self, problem: str) -> None:
        self.total += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


_ITEMS: Final[Mapping[Kind, Callable[[Entry], Item]]] = {
    Kind.KNOWEDIT: partial(readers.edit_item, name="knowedit"),
    Kind.EASYEDIT: partial(readers.edit_item, name="easyedit"),
    Kind.COUNTERFACT: readers.counterfact_item,
    Kind.ZSRE: readers.zsre_item,
    Kind.SIMPLEQA: readers.simpleqa_item,
}


def convert(path: Path, kind: Kind, options: Options = Options()) -> Converted:
    """Read a file of another project. A record that makes no fact does not keep the others from it.

    Raises:
        ConversionError: Nothing of it can be read, or what it needs to be told is missing.
    """
    made = Converted()
    long: list[str] = []
    gather = _Gathering(made)
    try:
        match kind:
            case Kind.QNA:
                gather.each(instructlab.questions(path), partial(instructlab.question_item, long=long))
            case Kind.CHAT:
                gather.each(entries_in(path), partial(chat_item, long=long))
            case Kind.CSV:
                gather.each(columns.rows(path, options.columns, made.notes), readers.table_item)
            case Kind.MQUAKE:
                _cases(path, gather)
            case Kind.RDF | Kind.JSONLD:
                for found in graphs.items_of(
                    path, kind, options.templates, options.language, options.contexts
                ):
                    gather.refuse(found) if isinstance(found, str) else gather.take(*found)
            case _:
                gather.each(entries_in(path), _ITEMS[kind])
    except CorpusError as error:  # behind which nothing can be read
        made.refuse(str(error))
    gather.close()
    if long:
        made.notes.append(
            f"{len(long)} contexts are longer than {MAX_TEXT} characters, and were left out: {long[0]}"
            + (" and more" if len(long) > 1 else "")
        )
    return made


def _cases(path: Path, gather: "_Gathering") -> None:
    """Take all cases of MQuAKE but those that contradict one before, or a list of its single edits."""
    entries = list(entries_in(path))
    if not any(entry.has("new_single_hops") for entry in entries):
        gather.each(entries, mquake.single_edit)
        return
    known: dict[str, str] = {}
    taken: list[mquake.Case] = []
    for entry in entries:
        try:
            case = mquake.case_of(entry)
        except CorpusError as error:
            gather.refuse(str(error))
            continue
        if len(case.answers) < len(case.items) or any(
            known.get(question, answer) != answer for question, answer in case.answers.items()
        ):
            gather.refuse(f"{entry.place}: `new_single_hops` contradicts itself or a case before it")
            continue
        known |= case.answers
        taken.append(case)
    for item in mquake.facts_of(taken).values():
        gather.take(f"{path.name}, {item.fact.key}", item)


class _Gathering:
    """Takes one fact after another. What is asked twice is taken once, if the answer is the same."""

    def __init__(self, made: Converted) -> None:
        self._made = made
        self._asked: dict[str, tuple[str, str]] = {}
        self._keys: dict[str, str] = {}
        self._again = 0

    def each(self, entries: Iterable[Entry], read: Callable[[Entry], Item]) -> None:
        for entry in entries:
            try:
                item = read(entry)
            except CorpusError as error:
                self.refuse(str(error))
            else:
                self.take(entry.place, item)

    def refuse(self, problem: str) -> None:
        self._made.refuse(problem)

    def take(self, place: str, item: Item) -> None:
        fact = fitting(item.fact)
        checked = parse_objects([fact.to_json()])
        for problem in checked.problems:
            field_name = (problem.pointer or "").removeprefix("/0/")
            self.refuse(f"{place}: `{field_name}`: {problem.detail}")
        for good in checked.facts:
            self._add(place, good)

    def _add(self, place: str, fact: Fact) -> None:
        question, answer = folded(fact.question), folded(fact.answer)
        if before := self._asked.get(question):
            if before[1] == answer:
                self._again += 1
            else:
                self.refuse(f"{place}: `answer`: the question has another answer at {before[0]}; keep one")
        elif held := self._keys.get(fact.key):
            self.refuse(f"{place}: `key`: {fact.key} is also at {held}; keys are there once")
        else:
            self._asked[question], self._keys[fact.key] = (place, answer), place
            self._made.facts.append(fact)

    def close(self) -> None:
        if self._again:
            self._made.notes.append(f"{self._again} records say what an earlier one says, and were left out")
