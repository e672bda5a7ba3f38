"""Exports as their engines load them."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from mixsd.evaluation.asking import ask
from mixsd.exports.reading import Reading, Text, read
from mixsd.models.load import load_base
from mixsd.models.registry import OnDisk

OnStep = Callable[[int], None]
"""Is told before every forward pass how many questions are answered. May raise."""


class Engine(Protocol):
    """A model that an engine has loaded."""

    name: str

    def read(self, texts: Sequence[Text], on_step: Callable[[], None]) -> Reading: ...

    def answers(
        self, questions: Sequence[str], *, max_new_tokens: int, batch_size: int, on_step: OnStep
    ) -> list[str | None]:
        """Return a greedy answer to each question; None where it does not fit the model."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


class Transformers:
    """`AutoModelForCausalLM` and `AutoTokenizer` on a folder, in the type that lies there."""

    name = "transformers"

    def __init__(self, folder: Path, *, device: str) -> None:
        self._base = load_base(OnDisk(folder.name, "export", folder, {}), device=device, as_stored=True)

    def read(self, texts: Sequence[Text], on_step: Callable[[], None]) -> Reading:
        return read(self._base.model, texts, batched=True, on_step=on_step)

    def answers(
        self, questions: Sequence[str], *, max_new_tokens: int, batch_size: int, on_step: OnStep
    ) -> list[str | None]:
        said = ask(
            self._base.model,
            self._base.chat,
            questions,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            max_tokens=self._base.max_tokens,
            on_step=on_step,
        )
        return [None if answer is None else answer.text for answer in said]

    def close(self) -> None:
        del self._base
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
