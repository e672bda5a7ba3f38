"""What a reader of a format gives: one record for each fact that is to be, and where it stands."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from mixsd.facts import Problem

MAX_RECORD: Final = 1_000_000
"""Most characters of one fact in a JSON or YAML document, and of one line of a table."""

Place = tuple[int | None, int | None]
"""Line and column, from 1."""


def nowhere(_: str) -> Place:
    return None, None


@dataclass(slots=True)
class Record:
    """Plain data that should be a fact.

    Attributes:
        value: The data.
        line: Where it begins, where that is known without looking.
        pointer: Where it stands in its document; empty where each fact has a line.
        place_of: Finds line and column of what a JSON pointer within the value leads to. To be
            called before the next record is read.
    """

    value: Any
    line: int | None = None
    pointer: str = ""
    place_of: Callable[[str], Place] = nowhere


Records = Iterator[Record | Problem]
"""Records, and problems of those that could not be read."""


class BrokenFileError(Exception):
    """Nothing can be read from here on: the rest of the file means nothing."""

    def __init__(
        self,
        code: str,
        detail: str,
        line: int | None = None,
        column: int | None = None,
        pointer: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(code, detail, line, column, pointer)
