"""May a text be trained on as another wording of a question? Pure; loads no torch.

The rules are strict rather than complete: a wording that is lost costs an attempt, one that asks
for something else teaches what is wrong. Most of them know English; for other languages those on
names, numbers, length and equality remain.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from mixsd.answers import contains, is_unspaced, normalise
from mixsd.facts import MAX_TEXT, Fact

NEAR: Final = 0.85
"""Share of words in common, in order, from which two wordings count as one."""
MORE_WORDS: Final = 8
"""Words that a rewording may have beyond twice those of the question."""

_WORD: Final = re.compile(r"[^\W_]+")
_LABEL: Final = re.compile(
    r"(?:[-*•]|\d+[.)])?\s*(?:(?:in other words|answer|"
    r"(?:the )?(?:new|rewritten|reworded|rephrased)?\s*(?:question|version)?)\s*:)?\s*",
    re.IGNORECASE,
)
_QUOTES: Final = "\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb*`"
_MARKS: Final = "?\uff1f\u061f"
_ASKING: Final = frozenset({"who", "whom", "whose", "when", "where", "why", "how"})
"""Words that say what kind of answer is wanted; `what` and `which` do not."""
_FUNCTION: Final = frozenset(
    _WORD.findall(
        "a an and are at be been by can could did do does for from had has have how in is it its me of on"
        " or please s tell that the there this to was we were what when where which who whom whose why will"
        " with would you"
    )
)


def line_of(text: str) -> str:
    r"""Return the line of a model's text in which it asks, without labels and quotes; "" if none does.

    Example:
        >>> line_of('Sure, here it is:\n\nIn other words: "Who leads Ebra?"\nI hope this helps.')
        'Who leads Ebra?'
    """
    for line in text.splitlines():
        said = line.strip().strip(_QUOTES)
        said = said[_end_of_label(said) :].strip().strip(_QUOTES).strip()
        if said and not said.endswith(":"):
            return said
    return ""


def _end_of_label(line: str) -> int:
    found = _LABEL.match(line)
    return found.end() if found else 0


def taken_by(facts: Iterable[Fact]) -> frozenset[str]:
    """Return what no rewording may be, normalised: all that evaluation asks, of any fact.

    Wordings that facts bring to train on are among it too: each has an answer of its own.
    """
    texts: set[str] = set()
    for fact in facts:
        probes = (probe.question for probe in fact.probes)
        wordings = (fact.question, *fact.paraphrases, *fact.train_paraphrases, *probes)
        texts.update(map(normalise, wordings))
    return frozenset(texts)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a rewording of one fact's question must keep to.

    Attributes:
        fact: Whose question it is.
        taken: From `taken_by`, of all facts that are taught together.
        names: Words that must stay: see `names_of`.
    """

    fact: Fact
    taken: Collection[str]
    names: tuple[str, ...]

    def refusal(self, text: str, accepted: Sequence[str]) -> str | None:
        """Return why a text that the model wrote may not be used, or None.

        Args:
            text: From `line_of`.
            accepted: Wordings that are trained on already, beside the fact's question.
        """
        question = self.fact.question
        found: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("not_one_question", lambda: text[-1:] not in _MARKS or sum(map(text.count, _MARKS)) != 1),
            ("length", lambda: not _is_of_sensible_length(text, question)),
            ("answer_told", lambda: self._tells_answer(text)),
            ("name_lost", lambda: not all(contains(text, name) for name in self.names)),
            ("name_added", lambda: bool(_new_names(text, self.fact))),
            ("asks_for_something_else", lambda: bool(_asking(text) - _asking(question))),
            ("repeated", lambda: any(is_near_copy(text, other) for other in (question, *accepted))),
        )
        return next((reason for reason, is_so in found if is_so()), None) or self.leak(text)

    def leak(self, text: str) -> str | None:
        """Return "held_out" if evaluation asks this text, of any fact, or nearly this one of this fact."""
        near = (*self.fact.paraphrases, *(probe.question for probe in self.fact.probes))
        if normalise(text) in self.taken or any(is_near_copy(text, other) for other in near):
            return "held_out"
        return None

    def _tells_answer(self, text: str) -> bool:
        answers = (self.fact.answer, *self.fact.aliases)
        return any(contains(text, each) and not contains(self.fact.question, each) for each in answers)


def names_of(fact: Fact, is_rare: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the words of a fact's question that a rewording must keep.

    These are numbers, words that begin with a capital but for the first one, names of the fact's
    subject, and rare words: names are written small, too.

    Example:
        >>> fact = Fact("f", "In which year did Ada Lovelace meet the 2 zorelites?", "1833")
        >>> names_of(fact, lambda word: word == "zorelites")
        ('Ada', 'Lovelace', '2', 'zorelites')
    """
    subject = _words(fact.subject)
    named = {word.casefold() for word in subject if word[0].isupper()} or set(map(str.casefold, subject))
    kept = []
    for place, word in enumerate(_words(fact.question)):
        common = word.casefold() in _FUNCTION
        is_name = (word[0].isupper() and place > 0) or (word.casefold() in named and not common)
        if is_name or any(map(str.isdigit, word)) or (not common and is_rare(word)):
            kept.append(word)
    return tuple(dict.fromkeys(kept))


def is_near_copy(text: str, other: str) -> bool:
    """Say whether two wordings differ in next to nothing: a function word, or a word or two of many.

    Example:
        >>> is_near_copy("What's the capital of Ebra?", "What is the capital of Ebra?")
        True
        >>> is_near_copy("What is Ebra's capital?", "What is the capital of Ebra?")
        False
    """
    first, second = _parts(text), _parts(other)
    if SequenceMatcher(None, first, second, autojunk=False).ratio() >= NEAR:
        return True
    content = [part for part in first if part not in _FUNCTION]
    return bool(content) and content == [part for part in second if part not in _FUNCTION]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _parts(text: str) -> list[str]:
    """Return the words of a text, normalised; its characters where a script does not part words."""
    plain = normalise(text)
    if any(map(is_unspaced, plain)):
        return [character for character in plain if character != " "]
    return plain.split()


def _is_of_sensible_length(text: str, question: str) -> bool:
    size, of_question = len(_parts(text)), len(_parts(question))
    return 2 <= size <= 2 * of_question + MORE_WORDS and len(text) <= MAX_TEXT


def _new_names(text: str, fact: Fact) -> list[str]:
    """Return capitalised words and numbers that neither question nor subject has."""
    known = set(_words(f"{fact.question} {fact.subject}".casefold()))
    return [
        word
        for place, word in enumerate(_words(text))
        if ((word[0].isupper() and place > 0) or any(map(str.isdigit, word)))
        and word.casefold() not in known | _FUNCTION
    ]


def _asking(text: str) -> set[str]:
    return set(normalise(text).split()) & _ASKING
