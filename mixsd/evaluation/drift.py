"""What a sample of the base model's own text costs a model while it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mixsd.decoding.rows import LanguageModel
from mixsd.evaluation.asking import nats_of
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.suites import open_prompts
from mixsd.models.load import Base

_SAMPLE: Final = 8
"""Texts of the sample: a forward pass each."""


@dataclass(frozen=True, slots=True)
class DriftSample:
    """Some of the base model's answers to the open prompts, the same for a whole run.

    Attributes:
        prompts: What was asked.
        texts: Token ids of the base model's answers.
        of_base: Mean loss of these under the base model, nats per token.
    """

    prompts: tuple[str, ...]
    texts: tuple[tuple[int, ...], ...]
    of_base: float

    @classmethod
    def of(cls, baseline: Measured) -> "DriftSample | None":
        """Return every n-th answer of a baseline; None if drift was not measured there."""
        asked = [prompt for prompt, ids in zip(_prompts(baseline), baseline.open_ids, strict=True) if ids]
        said = [ids for ids in baseline.open_ids if ids]
        if not said:
            return None
        count = min(_SAMPLE, len(said))
        places = [place * len(said) // count for place in range(count)]
        nats = [baseline.open_nats[place] for place in places]
        return cls(
            tuple(asked[place] for place in places),
            tuple(said[place] for place in places),
            sum(nats) / count,
        )

    def under(self, base: Base, model: LanguageModel, on_check: Callable[[], None] = lambda: None) -> float:
        """Return the mean loss of the sample under a model in evaluation mode, nats per token.

        `on_check` is called before every forward pass, and may raise.
        """
        nats = nats_of(model, base.chat, self.prompts, self.texts, on_check)
        return sum(nats) / len(nats)


def _prompts(baseline: Measured) -> list[str]:
    return [item.prompt for item in open_prompts().items] if baseline.open_ids else []
