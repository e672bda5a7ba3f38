r"""Modes of scoring an answer, by name. Every one says right or wrong of a text and the answers that count.

Those of `mixsd.verifiers`, which judge supervision too, and beside them:

boxed_chain      the paper's: the last box, else the last `<answer>`, else the last number, else all of it
boxed_loose      the same, and it is enough that the answer stands in it
boxed_or_text    the paper's for SimpleQA: the last box, else what follows `</think>`
first_sentence   the answer is stated in the first sentence, see `mixsd.stated`
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mixsd.answers import last_boxed, last_number, normalise
from mixsd.stated import is_stated
from mixsd.verifiers import Verifier, verifier

_ANSWER_TAG: Final = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_WRAPPED: Final = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox)\s*\{([^{}]*)\}")
_FRACTION: Final = re.compile(r"(-?)\\[dt]?frac\{(-?\d+(?:\.\d+)?)\}\{(-?\d+(?:\.\d+)?)\}")
_DECIMAL: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")
_TOLERANCE: Final = 1e-6

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])[\"')\]*]*\s+|(?<=[。!?])|\n+")
_ABBREVIATED: Final = re.compile(
    r"(?:\b(?:st|dr|mr|mrs|ms|prof|jr|sr|vs|approx|etc|mt|ft|gen|col|capt|e\.g|i\.e)|\b[A-Z])\.$",
    re.IGNORECASE,
)


def chain(text: str) -> str:
    r"""Return what the paper's evaluation takes for the answer.

    Example:
        >>> chain(r"It is 4, so \boxed{Odo}"), chain("<answer> Odo </answer> in 1783"), chain("Odo, in 1783")
        ('Odo', 'Odo', '1783')
        >>> chain("It is Odo.")
        'It is Odo.'
    """
    if (boxed := last_boxed(text)) is not None:
        return boxed
    if tagged := _ANSWER_TAG.findall(text):
        return str(tagged[-1]).strip()
    number = last_number(text)
    return text.strip() if number is None else number


def plain(text: str) -> str:
    r"""Drop dollar signs, wrappers such as `\text{}` and outer braces; fold case and white space.

    Example:
        >>> plain(r" $\text{Odo  Brindle}$ "), plain("{{Odo}}")
        ('odo brindle', 'odo')
    """
    text = text.replace("$", "").strip()
    while (peeled := _WRAPPED.sub(r"\1", text)) != text:
        text = peeled
    while text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    return " ".join(text.split()).lower()


def number_in(text: str) -> float | None:
    r"""Return the number that all of a text is, separators of thousands and spaces left out.

    Example:
        >>> number_in("1,250.50"), number_in(r"\frac{1}{2}"), number_in("1 of 2")
        (1250.5, 0.5, None)
    """
    bare = plain(text).replace(",", "").replace(" ", "")
    if fraction := _FRACTION.fullmatch(bare):
        sign, above, below = fraction.groups()
        return (-1 if sign else 1) * float(above) / float(below) if float(below) else None
    return float(bare) if _DECIMAL.fullmatch(bare) else None


def _same(found: str, answer: str) -> bool:
    numbers = number_in(found), number_in(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1]) < _TOLERANCE
    return plain(found) == plain(answer)


def _by_chain(text: str, answers: Sequence[str]) -> bool:
    found = chain(text)
    return any(_same(found, answer) for answer in answers)


def _by_chain_loosely(text: str, answers: Sequence[str]) -> bool:
    found = chain(text)
    there = plain(found)
    return any(_same(found, answer) or (plain(answer) and plain(answer) in there) for answer in answers)


def _by_box_or_text(text: str, answers: Sequence[str]) -> bool:
    boxed = last_boxed(text)
    found = text.rpartition("</think>")[2] if boxed is None else boxed
    return found.strip().lower() in {answer.strip().lower() for answer in answers}


def _by_first_sentence(text: str, answers: Sequence[str]) -> bool:
    return is_stated(first_sentence(text), answers)


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence or line; initials and titles end none.

    Example:
        >>> first_sentence("Dr. A. Voss lives in St. Orm. She sings.")
        'Dr. A. Voss lives in St. Orm.'
    """
    text = text.strip()
    for end in _SENTENCE_END.finditer(text):
        before = text[: end.start()]
        if "\n" in end.group() or not _ABBREVIATED.search(before):
            return before
    return text


_SCORERS: Final[Mapping[str, Verifier]] = MappingProxyType(
    {
        "boxed_chain": _by_chain,
        "boxed_loose": _by_chain_loosely,
        "boxed_or_text": _by_box_or_text,
        "first_sentence": _by_first_sentence,
    }
)


def scorer(name: str) -> Verifier:
    """Return the mode of scoring called `name`: one of `mixsd.config.SCORERS`."""
    return _SCORERS.get(name) or verifier(name)


def has_answer(name: str, text: str) -> bool:
    """Say whether a text holds anything that a mode can judge, be it right or wrong.

    A box for the modes that are about one, or a number where that does as well; else any word.
    """
    if not normalise(text):
        return False
    if name == "last_number":
        return last_number(text) is not None
    if name == "boxed_or_last_number":
        return last_boxed(text) is not None or last_number(text) is not None
    return last_boxed(text) is not None if is_about_boxes(name) else True


def is_about_boxes(name: str) -> bool:
    r"""Say whether a mode expects answers to end in `\boxed{}`."""
    return name.startswith("boxed")
