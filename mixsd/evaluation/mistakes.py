r"""What kind of wrong answer it is. Pure; the first rule that fits decides.

Of questions that have nothing to do with the facts: `format`, `leakage`, `collapse`, `genuine`. Of
questions about them: `format`, `cross_entity`, `genuine`. `docs/scoring.md` says what they mean.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

from mixsd.answers import contains, is_unspaced, last_box, last_boxed, normalise
from mixsd.facts import Fact
from mixsd.scoring import has_answer, is_about_boxes

SHORTEST: Final = 4
"""Least characters of a name that is looked for in texts."""
SHORTEST_UNSPACED: Final = 3
"""The same, in scripts that do not part words."""
BARE_CHARACTERS: Final = 80
BARE_LINES: Final = 4
"""Most characters and line breaks that a bare answer has beside the answer."""


class Mistake(StrEnum):
    """Kinds of wrong answers."""

    FORMAT = "format"
    LEAKAGE = "leakage"
    COLLAPSE = "collapse"
    CROSS_ENTITY = "cross_entity"
    GENUINE = "genuine"


HELD_OUT: Final = (Mistake.FORMAT, Mistake.LEAKAGE, Mistake.COLLAPSE, Mistake.GENUINE)
TAUGHT: Final = (Mistake.FORMAT, Mistake.CROSS_ENTITY, Mistake.GENUINE)


class Names:
    """Names that facts bring with them, to look for in texts: subjects, objects, answers and aliases."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = {}
        self._unspaced: set[str] = set()
        self._proper: set[str] = set()
        for fact in facts:
            self._proper |= {normalise(text) for text in _given(fact) if text[:1].isupper()}
            for name in names_of(fact):
                if _is_unspaced(name):
                    self._unspaced.add(name)
                else:
                    words = tuple(name.split())
                    self._by_first.setdefault(words[0], set()).add(words)

    def in_text(self, text: str) -> Iterator[str]:
        """Yield the names that stand in a text as whole words, normalised."""
        there = normalise(text)
        words = there.split()
        for place, word in enumerate(words):
            for name in self._by_first.get(word, ()):
                if tuple(words[place : place + len(name)]) == name:
                    yield " ".join(name)
        yield from (name for name in self._unspaced if name in there)

    def is_proper(self, name: str) -> bool:
        """Say whether a fact writes a name with a capital."""
        return name in self._proper


def names_of(fact: Fact) -> set[str]:
    """Return the names that a fact brings with it, normalised, without those that are too short."""
    names = (normalise(text) for text in _given(fact))
    return {name for name in names if len(name) >= (SHORTEST_UNSPACED if _is_unspaced(name) else SHORTEST)}


def _is_unspaced(name: str) -> bool:
    return any(map(is_unspaced, name))


def _given(fact: Fact) -> tuple[str, ...]:
    return (fact.subject, fact.object, fact.answer, *fact.aliases)


def of_held_out(
    text: str | None, base_text: str | None, question: str, answers: Sequence[str], mode: str, names: Names
) -> Mistake:
    """Return the kind of a wrong answer to a question that has nothing to do with the facts.

    Args:
        text: The answer; None where the question does not fit the model.
        base_text: The base model's.
        question: What was asked.
        answers: Those that count.
        mode: How it was scored, see `mixsd.scoring`.
        names: Of the facts that were taught.
    """
    if text is None or not has_answer(mode, text):
        return Mistake.FORMAT
    foreign = [name for name in names.in_text(text) if _is_foreign(name, question, answers)]
    if any(_has_parts(name) or _is_news(name, base_text or "", names) for name in foreign):
        return Mistake.LEAKAGE
    bare = _is_bare(text) and (is_about_boxes(mode) or not _is_bare(base_text or ""))
    return Mistake.COLLAPSE if bare else Mistake.GENUINE


def of_taught(
    text: str, fact: Fact, question: str, answers: Sequence[str], mode: str, names: Names
) -> Mistake:
    """Return the kind of a wrong answer to a question about a fact.

    Args:
        text: The answer.
        fact: What it is about.
        question: What was asked.
        answers: Those that count.
        mode: How it was scored, see `mixsd.scoring`.
        names: Of all facts.
    """
    if not has_answer(mode, text):
        return Mistake.FORMAT
    judged = (last_boxed(text) or text) if is_about_boxes(mode) else text
    own = names_of(fact)
    others = (name for name in names.in_text(judged) if name not in own)
    wrong = any(_is_foreign(name, question, answers) for name in others)
    return Mistake.CROSS_ENTITY if wrong else Mistake.GENUINE


def _has_parts(name: str) -> bool:
    """Say whether a name has several words, or may have: then it hardly stands in a text by chance."""
    return " " in name or _is_unspaced(name)


def _is_news(name: str, base_text: str, names: Names) -> bool:
    """Say whether a single word is a name that the base model does not say here."""
    return names.is_proper(name) and not contains(base_text, name)


def _is_foreign(name: str, question: str, answers: Sequence[str]) -> bool:
    return not any(contains(text, name) for text in (question, *answers))


def _is_bare(text: str) -> bool:
    """Say whether next to nothing is left of a text without boxes and lines that only give the answer."""
    lines = (line for line in _without_boxes(text).splitlines() if not _gives_answer(line))
    rest = "\n".join(lines).strip()
    return len(rest) <= BARE_CHARACTERS and rest.count("\n") <= BARE_LINES


def _gives_answer(line: str) -> bool:
    return line.strip().lower().startswith("the answer is")


def _without_boxes(text: str) -> str:
    while (place := last_box(text)) is not None:
        text = text[: place[0]] + text[place[1] :]
    return text
