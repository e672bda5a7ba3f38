"""Answers that are written while one reads: one after another, however they come."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Place = tuple[int, str]
"""Which question, and who answers it."""


def spoken(
    pieces: Iterable[Mapping[str, Any]], questions: Sequence[str], sides: Sequence[str] = ("adapter", "base")
) -> Iterator[str]:
    """Yield what to print, as soon as its turn has come: under each question what the sides say, in order.

    Answers are written side by side; those whose turn has not come wait here. What was cut short ends
    in `[...]`.
    """
    texts: dict[Place, str] = {}
    whole: set[Place] = set()
    turns = [(index, side) for index in range(len(questions)) for side in sides]
    printed = 0
    for piece in pieces:
        place = (piece["index"], piece["of"])
        if piece["type"] == "answer":
            whole.add(place)
            texts[place] = piece["text"] + ("" if piece["finish_reason"] == "stop" else " [...]")
        else:
            texts[place] = texts.get(place, "") + piece["text"]
        while turns and turns[0] in texts:
            text = texts[turns[0]]
            if not printed:
                yield _heading(turns[0], questions, sides)
            if text[printed:]:
                yield _shown(text[printed:])
            printed = len(text)
            if turns[0] not in whole:
                break
            yield "\n"
            turns, printed = turns[1:], 0


def _heading(place: Place, questions: Sequence[str], sides: Sequence[str]) -> str:
    index, side = place
    question = f"{_shown(questions[index])}\n" if side == sides[0] else ""
    return f"{question}{side}: "


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
