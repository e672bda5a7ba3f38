"""Where in a text of JSON a pointer leads. For text that was decoded before."""

import json
import re
from collections.abc import Iterator
from typing import Final

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


def offset_of(text: str, start: int, pointer: str) -> int:
    """Return where in `text` the value that `pointer` leads to begins; that of a field is its name.

    The pointer begins at the value that begins at `start`. What it does not lead to, such as a
    field that is missing, is taken for the object that should hold it.

    Example:
        >>> offset_of('{"a": [1, 2]}', 0, "/a/1"), offset_of('{"a": 1}', 0, "/b")
        (10, 0)
    """
    here = shown = _past_space(text, start)
    for step in pointer.split("/")[1:]:
        wanted = step.replace("~1", "/").replace("~0", "~")
        found = next((place for name, *place in _members(text, here) if name[:64] == wanted), None)
        if found is None:
            return here
        shown, here = found
    return shown


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield name or number, where it is named, and where its value begins."""
    opening = text[start]
    if opening not in "{[":
        return
    here, number = _past_space(text, start + 1), 0
    while text[here] not in "}]":
        named = here
        name = str(number)
        if opening == "{":
            name, here = _DECODER.raw_decode(text, here)
            here = _past_space(text, _past_space(text, here) + 1)
        yield name, named, here
        here = _past_space(text, _DECODER.raw_decode(text, here)[1])
        if text[here] == ",":
            here = _past_space(text, here + 1)
        number += 1


def _past_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
