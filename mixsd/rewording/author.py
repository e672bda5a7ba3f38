"""Who writes rewordings: the base model, many texts side by side."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from mixsd.decoding.rng import Draw
from mixsd.decoding.solo import write
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.models.load import Base

TEMPERATURE: Final = 0.8
TOP_K: Final = 40
SLOTS: Final = 24
RARE: Final = 3
"""Tokens of a word from which it counts as rare: what is common is one token or two."""
_HEADROOM: Final = 16
_ANSWER_HEADROOM: Final = 32


class Author(Protocol):
    """Writes texts, answers questions, and knows which words are rare."""

    def is_rare(self, word: str) -> bool:
        """Say whether a word is none that it meets often."""

    def write(self, requests: Sequence[tuple[Draw, str, str]]) -> list[str]:
        """Return a text for each draw and prompt; the third part is the question, for its length."""

    def answer(self, requests: Sequence[tuple[str, str]]) -> list[str]:
        """Return what is answered to each prompt, "" where it does not end by itself.

        The second part of a request is the answer, for its length.
        """


class ModelAuthor:
    """The base model. Texts are draws named by their key, answers are greedy."""

    def __init__(self, base: Base, on_step: Callable[[], None]) -> None:
        """Prepare to write.

        Args:
            base: The frozen model.
            on_step: Called before every forward pass. May raise.
        """
        self._base = base
        self._on_step = on_step
        self._limit = most_tokens(base.model, base.max_tokens)

    def is_rare(self, word: str) -> bool:
        return len(self._base.chat.plain_ids(f" {word}")) >= RARE

    def write(self, requests: Sequence[tuple[Draw, str, str]]) -> list[str]:
        texts = (
            self._text(draw, prompt, 2 * self._length(question) + _HEADROOM)
            for draw, prompt, question in requests
        )
        return self._finished(texts, Sampling(TEMPERATURE, TOP_K, self._base.chat.stop_ids))

    def answer(self, requests: Sequence[tuple[str, str]]) -> list[str]:
        nobody = Draw(seed=0, fact_key="", generation=0, attempt=0)
        texts = (
            self._text(nobody, prompt, 4 * self._length(answer) + _ANSWER_HEADROOM)
            for prompt, answer in requests
        )
        greedy = Sampling(0.0, 1, self._base.chat.stop_ids)
        return self._finished(texts, greedy, whole=True)

    def _length(self, text: str) -> int:
        return len(self._base.chat.plain_ids(text))

    def _text(self, draw: Draw, prompt: str, cap: int) -> Text | None:
        """Return a text to write, or nothing where prompt and text do not fit the model."""
        ids = tuple(self._base.chat.prompt_ids(prompt))
        return Text(Prompts(ids), draw, lam=0.0, cap=cap) if len(ids) + cap <= self._limit else None

    def _finished(
        self, texts: Iterable[Text | None], sampling: Sampling, *, whole: bool = False
    ) -> list[str]:
        """Return what was written, "" for a text that does not fit; if `whole`, also for one that was cut."""
        every = list(texts)
        fitting = [text for text in every if text is not None]
        write(self._base.model, fitting, sampling, slots=SLOTS, on_step=lambda _: self._on_step())
        return [
            self._base.chat.decode(text.tokens) if text and (text.finish == "stop" or not whole) else ""
            for text in every
        ]
