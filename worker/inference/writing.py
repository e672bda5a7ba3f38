"""From tokens to what is shown: pieces while an answer is written, and stops in words."""

from collections.abc import Sequence

from mixsd.tokens import ChatTokenizer

_BROKEN = "\ufffd"
"""Stands at the end of a text whose last character is not complete."""
_MARGIN = 8
"""Tokens more than a stop has bytes: each token but special ones is a byte at least."""


class StopWords:
    """Ends a text before any of some strings. See `mixsd.decoding.text.Ending`."""

    def __init__(self, chat: ChatTokenizer, words: Sequence[str]) -> None:
        self._chat = chat
        self._words = tuple(words)
        self._tail = _MARGIN + max(len(word.encode()) for word in words)
        self.end = chat.end_of_turn

    def over(self, tokens: Sequence[int], token_id: int) -> bool:
        """Say whether the text holds a stop already."""
        tail = self._chat.decode_raw(tokens[-self._tail :])
        return any(word in tail for word in self._words)


class Writer:
    """Follows one text, and says what of it can be shown already.

    All pieces, put together, are what `text` returns in the end, or begin it.
    """

    def __init__(self, chat: ChatTokenizer, stops: Sequence[str]) -> None:
        self._chat = chat
        self._stops = tuple(stops)
        self._shown = ""

    def piece(self, tokens: Sequence[int]) -> str:
        """Return what is new and will stay, whatever comes next."""
        text = self._settled(self._cut(self._chat.decode(tokens)))
        if len(text) <= len(self._shown) or not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown = text
        return new

    def text(self, tokens: Sequence[int]) -> tuple[str, bool]:
        """Return the whole answer, and whether a stop ended it."""
        whole = self._chat.decode(tokens)
        cut = self._cut(whole)
        return cut, cut != whole

    def rest(self, text: str) -> str:
        """Return what of the whole answer was not shown yet."""
        return text[len(self._shown) :] if text.startswith(self._shown) else ""

    def _cut(self, text: str) -> str:
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        return text[: min(places)].rstrip() if places else text

    def _settled(self, text: str) -> str:
        """Leave out what the next token may change: half a character, half a stop, blanks at the end."""
        text = text.rstrip(_BROKEN)
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        return text[: len(text) - held].rstrip()


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin a stop.

    Example:
        >>> _overlap("one EN", "END"), _overlap("one", "END")
        (2, 0)
    """
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
