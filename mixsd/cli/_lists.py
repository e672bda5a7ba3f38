"""Options that take several values at once."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from typer.core import TyperCommand

_LISTS: Final = ("--methods", "--seeds", "--suites", "--data")


class Lists(TyperCommand):
    """Takes several values behind one option: `--seeds 0 1 2` is `--seeds 0 --seeds 1 --seeds 2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(spread(args)))


def spread(words: Iterable[str]) -> Iterator[str]:
    """Repeat an option of `_LISTS` before each of its values.

    Example:
        >>> list(spread(["facts.jsonl", "--seeds", "0", "1", "--out", "x"]))
        ['facts.jsonl', '--seeds', '0', '--seeds', '1', '--out', 'x']
    """
    option = ""
    is_bare = False
    for word in words:
        if word.startswith("-"):
            if is_bare:
                yield option
            option = word if word in _LISTS else ""
            is_bare = bool(option)
            if not option:
                yield word
        else:
            if option:
                yield option
            is_bare = False
            yield word
    if is_bare:
        yield option
