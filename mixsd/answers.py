"""The form in which answers are compared, and what is taken out of a text for one."""

import re
import unicodedata
from typing import Final

_NUMBER: Final = re.compile(r"(?:(?<!\w)-)?\d+(?:\.\d+)?")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BOX: Final = "\\boxed{"
_MINUS: Final = "\u2212"
_KEPT: Final = frozenset("#%&@+")


def normalise(text: str) -> str:
    """Bring a text to the form in which answers are compared.

    Compatibility forms and case are folded, thousands separators dropped, punctuation becomes
    white space except for a point within a number and a minus before one, and white space is single.

    Example:
        >>> normalise("  The Drymorel-Foundation, est. 1,024 (3.5%).")
        'the drymorel foundation est 1024 3.5%'
    """
    text = _plain_numbers(unicodedata.normalize("NFKC", text).casefold())
    out = []
    for place, character in enumerate(text):
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        dropped = character == "`" or (unicodedata.category(character)[0] in "PZC" and character not in _KEPT)
        point = character == "." and before.isdigit() and after.isdigit()
        minus = character == "-" and not before.isalnum() and after.isdigit()
        out.append(" " if dropped and not point and not minus else character)
    return " ".join("".join(out).split())


def _plain_numbers(text: str) -> str:
    return _THOUSANDS.sub("", text.replace(_MINUS, "-"))


def contains(text: str, answer: str) -> bool:
    """Say whether `answer` stands in `text` as whole words.

    Scripts that do not part words are searched as they are.

    Example:
        >>> contains("Its capital is Port Veyl.", "port veyl"), contains("Portugal", "Port")
        (True, False)
    """
    wanted, there = normalise(answer), normalise(text)
    if not wanted:
        return answer.casefold().strip() in text.casefold()
    if any(is_unspaced(character) for character in wanted):
        return wanted in there
    return f" {wanted} " in f" {there} "


def is_unspaced(character: str) -> bool:
    """Say whether a character belongs to a script that does not part words."""
    return unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER"))


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{…}`, braces matched; None if there is none.

    Example:
        >>> last_boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}")
        '\\frac{1}{2}'
    """
    place = last_box(text)
    return None if place is None else text[place[0] + len(_BOX) : place[1] - 1].strip()


def last_box(text: str) -> tuple[int, int] | None:
    r"""Return where the last `\boxed{…}` starts and ends; None if there is none, or it is not closed."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    depth = 1
    for place in range(start + len(_BOX), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return start, place + 1
    return None


def last_number(text: str) -> str | None:
    """Return the last whole or decimal number, without thousands separators.

    Example:
        >>> last_number("from 7 to 1,250.5 metres")
        '1250.5'
    """
    found = _NUMBER.findall(_plain_numbers(text))
    return found[-1] if found else None
