"""Texts of users and models, made harmless for pages that people read.

A fact may hold anything: markup, marks of Markdown, characters that turn the direction of what
follows or hide it. What is shown here stands in its own words and can be nothing else.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

_KEPT: Final = frozenset("\n\u200c\u200d")
"""A line's end, and the joiners that words of some scripts and many emoji need."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MARKS: Final = re.compile(
    r"[\\`*_{}\[\]#~^$@]"
    r"|:(?=\S)|(?<=www)\."  # links that some make of bare addresses, and names of emoji
    r"|^[-+=]|^\d{1,9}(?=[.)](?:\s|$))",  # lists, and lines that make a title of the one above
    re.IGNORECASE,
)
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


def visible(text: str) -> str:
    r"""Return a text with what cannot be seen, or turns directions, spelt out.

    Example:
        >>> visible("a\u202eb\x00 c\td")
        'a⟨U+202E⟩b⟨U+0000⟩ c d'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text.replace("\r\n", "\n").replace("\t", " "))


def _visible(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"⟨U+{ord(character):04X}⟩"


def markdown(text: str) -> str:
    r"""Return a text for a line of Markdown, where it means nothing but itself.

    Example:
        >>> markdown("<b>*a*|b")
        '&lt;b&gt;\\*a\\*&#124;b'
        >>> markdown("two\nlines")
        'two ⏎ lines'
    """
    marked = _MARKS.sub(_marked, " ⏎ ".join(visible(text).strip().split("\n")))
    return "".join(_ENTITIES.get(character, character) for character in marked)


def _marked(found: re.Match[str]) -> str:
    mark = found[0]
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """Return a table in Markdown, every cell of it made harmless. Empty without rows.

    Args:
        header: Titles.
        rows: Cells; None leaves one empty.
        right: Places of columns that are figures.
    """
    body = [_row(row) for row in rows]
    if not body:
        return ""
    rule = "|".join("---:" if place in right else "---" for place in range(len(header)))
    return "\n".join([_row(header), f"|{rule}|", *body])


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join('' if cell is None else markdown(str(cell)) for cell in cells)} |"
