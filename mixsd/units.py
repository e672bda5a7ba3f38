"""What is to be written: texts for each wording of a fact's question. Loads no torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mixsd.facts import Fact


@dataclass(frozen=True, slots=True)
class Unit:
    """One target to make: a fact, the wording of its question, and which text of it."""

    fact: Fact
    question: str
    generation: int

    @property
    def id(self) -> tuple[str, int]:
        return self.fact.key, self.generation


def units_of(facts: Iterable[Fact], generations: int) -> Iterator[Unit]:
    """Yield the targets of each fact: its question first, then each training paraphrase."""
    for fact in facts:
        for wording, question in enumerate((fact.question, *fact.train_paraphrases)):
            for generation in range(generations):
                yield Unit(fact, question, wording * generations + generation)


def ids_of(facts: Iterable[Fact], generations: int, rewordings: int) -> Iterator[tuple[str, int]]:
    """Yield the ids of all targets that facts can have if each gets so many rewordings, in order."""
    for fact in facts:
        wordings = 1 + len(fact.train_paraphrases) + rewordings
        for generation in range(wordings * generations):
            yield fact.key, generation
