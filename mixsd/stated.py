"""Is the answer stated? Named, and neither denied nor one of several that are offered."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from mixsd.answers import contains, is_unspaced, normalise

_CLAUSE_END: Final = re.compile(r"[.!?;:,](?=\s|$)|[。!?、]|\s[-\u2013\u2014]\s|\u2014|[()\n]")
_NOT: Final = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_NO_DENIAL: Final = re.compile(r"\b(?:no doubt|no question|not only|not just|not merely)\b", re.IGNORECASE)
_DENIALS: Final = frozenset({"not", "never", "no", "neither", "nor", "cannot", "without", "except", "unlike"})
_INSTEAD: Final = frozenset({("rather", "than"), ("instead", "of"), ("other", "than"), ("no", "longer")})
_VERBS: Final = frozenset(
    {*("is", "was", "are", "were", "has", "had", "does", "do", "did", "can", "could")}
    | {*("will", "would", "should", "may", "might", "must", "be", "been")}
)


def is_stated(text: str, answers: Sequence[str]) -> bool:
    """Say whether one of the answers stands in a text as whole words, at least once without being taken back.

    A mention does not count if a denial stands before it in its clause ("not Odo", "rather than Odo") or
    right behind it ("Odo is not ..."), or if it is one of several that are offered ("Odo or Ada"). The
    words are English; in scripts that do not part words a mention always counts.

    Example:
        >>> is_stated("It is Odo, not Ada.", ["Odo"]), is_stated("It is Odo, not Ada.", ["Ada"])
        (True, False)
    """
    words, clauses = _words_of(text)
    for start, end in _mentions(words, answers):
        before = [word for place, word in enumerate(words[:start]) if clauses[place] == clauses[start]]
        after = [word for place, word in enumerate(words[end:], end) if clauses[place] == clauses[end - 1]]
        if not _is_taken_back(before, after):
            return True
    return any(_has_no_words(answer) and contains(text, answer) for answer in answers)


def _has_no_words(answer: str) -> bool:
    wanted = normalise(answer)
    return not wanted or any(map(is_unspaced, wanted))


def _mentions(words: Sequence[str], answers: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where answers stand among words, but for those that are part of a longer answer there."""
    wanted = [normalise(answer).split() for answer in answers if not _has_no_words(answer)]
    reached = 0
    for start in range(len(words)):
        ends = [start + len(each) for each in wanted if list(words[start : start + len(each)]) == each]
        if ends and max(ends) > reached:
            reached = max(ends)
            yield start, reached


def _words_of(text: str) -> tuple[list[str], list[int]]:
    """Return the words of a text, normalised, and the number of the clause that each is in."""
    words: list[str] = []
    clauses: list[int] = []
    readable = _NO_DENIAL.sub(" ", _NOT.sub(" not", text))
    for number, clause in enumerate(_CLAUSE_END.split(readable)):
        found = normalise(clause).split()
        words += found
        clauses += [number] * len(found)
    return words, clauses


def _is_taken_back(before: Sequence[str], after: Sequence[str]) -> bool:
    if _DENIALS & set(before) or _INSTEAD & set(pairwise(before)):
        return True
    if "or" in {*before[-1:], *after[:1]} or "either" in before:
        return True
    behind = after[1:] if after and after[0] in _VERBS else after
    return bool(behind) and (behind[0] in {"not", "never"} or tuple(behind[:2]) in _INSTEAD)
