"""The early end: a text is over with the sentence that states the answer.

What a model writes behind the fact is no longer about it, and with the hint at hand much of it is
made up. Trained on, that is learned as well. Where the rule is on, a token that would begin another
sentence behind an answer that was stated is replaced by the one that ends the text. Up to there the
law of the text is untouched.

Knows nothing of models.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from mixsd.answers import normalise

_SENTENCE: Final = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*\Z")
_UNSPACED: Final = re.compile('[\u3002\uff01\uff1f]+["\u201d\u2019\u300d\u300f\uff09]*\\Z')
"""Ends of sentences in scripts that put no blank behind them."""
_CLOSING: Final = '"\u201d\u2019\u300d\u300f\uff09'
_TAIL: Final = 16
"""Tokens of the end of a text that are looked at first: a long one is read whole only where it may end."""
_SHORT: Final = re.compile(r"(?:\A|[\s(\"'])(?:[^\W\d_]|[A-Z][a-z]{1,2})\.\Z")
"""What may be an initial or an abbreviation rather than the end of a sentence."""


class AnswerEnding:
    """Says which token would go on behind the sentence that states the answer."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        states: Callable[[str], bool],
        answers: Sequence[str],
        end: int,
    ) -> None:
        """Watch a text.

        Args:
            decode: Returns the text of some tokens as it stands; special ones give no text.
            states: Whether a text states the answer, as it will be asked of the whole.
            answers: The answer and its aliases: a short word that ends one is no abbreviation.
            end: Token that ends a text.
        """
        self._decode = decode
        self._states = states
        self._answers = tuple(filter(None, map(normalise, answers)))
        self.end = end

    def over(self, tokens: Sequence[int], token_id: int) -> bool:
        """Say whether a text has said what it should, and this token would say more.

        Example:
            >>> words = ["It", " is", " Marnil", ".", " So", "5"]
            >>> ending = AnswerEnding(
            ...     lambda ids: "".join(words[i] for i in ids), lambda text: "Marnil" in text, ["Marnil"], 9
            ... )
            >>> ending.over([0, 1, 2, 3], 4), ending.over([0, 1, 2, 3], 5), ending.over([0, 1, 3], 4)
            (True, False, False)
        """
        tail = tokens[-_TAIL:]
        before = self._decode(tail)
        more = self._decode([*tail, token_id])[len(before) :]
        if not _may_end(before.rstrip(), more):
            return False
        text = self._decode(tokens).strip()
        if more[0] != "\n" and _SHORT.search(text) and not normalise(text).endswith(self._answers):
            return False
        return self._states(text)


def _may_end(text: str, more: str) -> bool:
    """Say whether a text that ends like this may be over in front of what would come next."""
    if not text or not more:
        return False
    if more[0] == "\n":
        return True
    if _UNSPACED.search(text):
        return more[0] not in _CLOSING
    return more[0].isspace() and _SENTENCE.search(text) is not None
