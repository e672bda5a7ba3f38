"""Words of a text, as far as two texts are compared by them."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from mixsd.answers import is_unspaced

_WORD: Final = re.compile(r"\w+")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNSAID: Final = _set(
    "a an the is are was were be been do does did of in on at by for s and what which that name please "
    "tell me can could you give it"
)
"""What may be missing from a question without making it another. `who`, `when`, `to` and `not` may not."""
_PRONOUNS: Final = _set(
    "he him his she her hers it its they them their theirs this these those there here one"
)
_ARTICLES: Final = _set("the a an this that these those its their his her your our my")
_ASKING: Final = _set(
    "who whom whose where when why how many much long old far big has have had will would should must to "
    "from with as it its"
)
_VOWELS: Final = re.compile(r"(?<=.)[aeiouy]+")
_DOUBLED: Final = re.compile(r"(.)\1+")
_LONG: Final = 5


def words(text: str) -> list[str]:
    """Return the words of a text without case, accents and punctuation.

    Example:
        >>> words("Where is São Tomé's port?")
        ['where', 'is', 'sao', 'tome', 's', 'port']
    """
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text)
        text = "".join(character for character in plain if not unicodedata.combining(character))
    return _WORD.findall(text.casefold())


def said(found: Sequence[str]) -> list[str]:
    """Return the words that make a question what it is, in the singular; all if none does.

    Example:
        >>> said(words("What is the capital of Veldora?")) == said(words("Veldora's capital")[::-1])
        True
    """
    left = [_singular(word) for word in found if word not in _UNSAID]
    return left or list(found)


def sound(found: Sequence[str]) -> str:
    """Return what is left of words if vowels and doubled letters are left out, whatever the order.

    Example:
        >>> sound(["veldora", "12"]) == sound(["12", "veldorra"])
        True
    """
    return " ".join(sorted(_skeleton(word) for word in found))


def is_typo(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether words are the same, in order, but for one that differs by a letter.

    Example:
        >>> is_typo(["capital", "veldora"], ["capital", "veldorra"]), is_typo(["ship", "7"], ["ship", "8"])
        (True, False)
    """
    if len(one) != len(other):
        return False
    pairs = [(left, right) for left, right in zip(one, other, strict=True) if left != right]
    return len(pairs) == 1 and min(map(len, pairs[0])) >= _LONG and _differ_by_one(*pairs[0])


def holds(text: Sequence[str], phrase: Sequence[str]) -> bool:
    """Say whether the words of a phrase stand in a text, one behind the other.

    Example:
        >>> holds(words("Is Port Veyl the capital?"), words("port veyl"))
        True
    """
    if not phrase:
        return False
    if any(is_unspaced(character) for character in phrase[0]):
        return "".join(phrase) in "".join(text)
    return f" {' '.join(phrase)} " in f" {' '.join(text)} "


def names_nothing(question: str, subject: str = "") -> bool:
    """Say whether nobody could know what a question is about: it names nothing, or it says `it`.

    Names are told by capitals, digits, quotation marks, and letters that have no capitals. English alone.

    Example:
        >>> [names_nothing(q) for q in ("Who founded it?", "What is the capital?", "Who founded Ebra?")]
        [True, True, False]
    """
    if not question.isascii() or subject or any(c.isdigit() or c in "\"'`" for c in question):
        return False
    parts = re.findall(r"[A-Za-z]+", question)
    if any(part[0].isupper() and part != "I" for part in parts[1:]):
        return False
    lower = [part.lower() for part in parts]
    if any(word in _PRONOUNS for word in lower[1:]):
        return True
    meant = [place for place, word in enumerate(lower) if word not in _UNSAID and word not in _ASKING]
    return not meant or (len(meant) == 1 and meant[0] > 0 and lower[meant[0] - 1] in _ARTICLES)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word


def _skeleton(word: str) -> str:
    if len(word) < _LONG or not word.isalpha():
        return word
    return _DOUBLED.sub(r"\1", _VOWELS.sub("", word))


def _differ_by_one(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    place = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) == len(long):
        return short[place + 1 :] == long[place + 1 :]
    return short[place:] == long[place + 1 :]
