"""Self-generated replay: what the base model says to open prompts, trained on beside the facts.

As targets (`replay`) or as distributions to stay close to (`kl`); compare self-generated replay,
arXiv:2605.26097. The prompts are our own and none of those that retention is measured with.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from peft import PeftModel

from mixsd.config import RetentionConfig
from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.solo import write
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.errors import ConfigError
from mixsd.models.load import Base
from mixsd.objectives.prompts import replay_prompts
from mixsd.training.batches import Example, order_of
from mixsd.training.soft import soft_targets
from mixsd.training.source import Source
from mixsd.training.world import World

_SLOTS: Final = 32


def replay_examples(
    base: Base, config: RetentionConfig, *, on_check: Callable[[], None] = lambda: None
) -> list[Example]:
    """Have the base model answer the prompts; return its answers as examples.

    They are a function of base and settings: a run that is resumed makes them again.

    Args:
        base: The base model, without an adapter on it.
        config: Of the type `replay` or `kl`.
        on_check: Called before every forward pass. May raise to stop.

    Raises:
        ConfigError: Not one prompt fits the model.
    """
    texts = _texts(base, config)
    if not texts:
        raise ConfigError(f"retention.max_new_tokens of {config.max_new_tokens} leaves no room for a prompt")
    sampling = Sampling(config.temperature, config.top_k, base.chat.stop_ids)
    write(base.model, texts, sampling, slots=_SLOTS, on_step=lambda _: on_check())
    examples = []
    for text in texts:
        on_check()
        examples.append(_example(base, config, text.prompts.expert, text.tokens))
    return examples


def _texts(base: Base, config: RetentionConfig) -> list[Text]:
    room = most_tokens(base.model, base.max_tokens) - config.max_new_tokens
    texts = []
    for item in replay_prompts(config.about).items[: config.prompts]:
        prompt = tuple(base.chat.prompt_ids(item.prompt))
        draw = Draw(config.seed, f"replay {item.id}", generation=0, attempt=0)
        if len(prompt) <= room:
            texts.append(Text(Prompts(prompt), draw, lam=0.0, cap=config.max_new_tokens))
    return texts


def _example(base: Base, config: RetentionConfig, prompt: tuple[int, ...], tokens: Sequence[int]) -> Example:
    if config.type == "replay":
        return Example(prompt, tuple(tokens), config.weight)
    logits_TV = logits_alone(base.model, [*prompt, *tokens[:-1]], last=len(tokens))
    return Example(prompt, tuple(tokens), config.weight, soft_targets(logits_TV, config.kl_top_k, "forward"))


def given(examples: Sequence[Example]) -> Source:
    """Return a source of stored examples."""

    def take(model: PeftModel, step: int, chosen: Sequence[int]) -> list[Example]:
        return [examples[place] for place in chosen]

    return take


class Beside:
    """Adds answers of the base model to the examples of every step. A `Source`.

    A step of n targets gets `ratio` * n answers, rounded so that it comes out right over steps.
    They are taken in order from passes over all answers; the order of a pass is a function of the
    seed and its number.
    """

    def __init__(
        self,
        facts: Source,
        answers: Sequence[Example],
        *,
        ratio: float,
        seed: int,
        batch_size: int,
        targets: int = 0,
    ) -> None:
        """Prepare to add answers.

        Args:
            facts: Makes the examples of the facts.
            answers: Of the base model, see `replay_examples`.
            ratio: Answers beside each target.
            seed: Names the order.
            batch_size: Targets of a full step.
            targets: Those of an epoch, from which it follows how many a step has. 0 for as many as a
                step is asked with, which is right for one process alone.
        """
        self._facts = facts
        self._answers = answers
        self._ratio = ratio
        self._seed = seed
        self._batch_size = batch_size
        self._targets = targets

    def __call__(self, model: PeftModel, step: int, chosen: Sequence[int]) -> list[Example]:
        # What stands beside others may have a share of its own in a process that none of them fell to.
        asked = bool(chosen) or isinstance(self._facts, Beside)
        facts = self._facts(model, step, chosen) if asked else ()
        places = self._places(step, self._targets_of(step) or len(chosen))
        return [*facts, *(self._answers[place] for place in World().share_of(places))]

    def _targets_of(self, step: int) -> int:
        """Return how many targets a step has in all processes together, 0 where that is not known."""
        if not self._targets:
            return 0
        batch = step % math.ceil(self._targets / self._batch_size)
        return min(self._batch_size, self._targets - batch * self._batch_size)

    def _places(self, step: int, targets: int) -> list[int]:
        """Return which answers a step gets."""
        share = self._ratio * targets
        count = math.floor(share * (step + 1)) - math.floor(share * step)
        first = math.floor(self._ratio * self._batch_size * step)
        return [self._place(number) for number in range(first, first + count)]

    def _place(self, number: int) -> int:
        turn, within = divmod(number, len(self._answers))
        return order_of(len(self._answers), seed=self._seed, epoch=turn)[within]
