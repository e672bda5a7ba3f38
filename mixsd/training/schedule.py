"""How many steps there are, and the learning rate as a function of the step. Nothing here loads torch."""

import math
from dataclasses import replace
from typing import Final

from mixsd.config import TrainConfig

_RATE: Final = 5e-4
_WIDTH: Final = 2000
_FALL: Final = 0.78
_MOST: Final = 1e-3
_HELD: Final = 2.0
_COOLDOWN: Final = 1.0
"""Steps after all was learned, as a share of those until then."""


def planned_steps(count: int, config: TrainConfig) -> int:
    """Return how many steps a run over `count` examples takes, if it does not end early."""
    planned = max(config.epochs * math.ceil(count / config.batch_size), config.min_steps)
    return min(planned, config.max_steps) if config.max_steps else planned


def rate_of_width(width: int) -> float:
    """Return the learning rate of an adapter of a model whose hidden states have so many numbers.

    5e-4 at a width of 2000, and less the wider a model is, by the power that sweeps over Llama models
    gave (Thinking Machines, "LoRA Without Regret", 2025). Never more than 1e-3.

    Example:
        >>> [round(rate_of_width(width), 6) for width in (64, 576, 2048, 4096)]
        [0.001, 0.001, 0.000491, 0.000286]
    """
    return min(_MOST, _RATE * math.pow(_WIDTH / width, _FALL))


def rated(config: TrainConfig, width: int, *, fresh: bool = True) -> TrainConfig:
    """Return settings with a learning rate: theirs, or that of a model's width, times their multiplier.

    Twice that of the width where the KL to the base model is trained beside the facts: it holds the model
    where it was, and what is taught carries over to other wordings further (docs/results.md, trials 26 to
    30).

    Args:
        config: The settings.
        width: Of the model's hidden states.
        fresh: Whether the adapter is a new one. One that knows facts already is trained on at the plain
            rate: what it knows is held by texts that are replayed, of which there are few.

    Example:
        >>> rated(TrainConfig(), 576).learning_rate
        0.001
        >>> from mixsd.config import RetentionConfig
        >>> rated(TrainConfig(retention=RetentionConfig(type="kl")), 576).learning_rate
        0.002
        >>> rated(TrainConfig(retention=RetentionConfig(type="kl")), 576, fresh=False).learning_rate
        0.001
        >>> rated(TrainConfig(learning_rate_multiplier=0.5), 576).learning_rate
        0.0005
    """
    rate = config.learning_rate
    if rate is None:
        rate = rate_of_width(width) * (_HELD if fresh and config.retention.type == "kl" else 1.0)
    return replace(config, learning_rate=rate * config.learning_rate_multiplier, learning_rate_multiplier=1.0)


def end_of_cooldown(learned_at: int, total: int, config: TrainConfig) -> int:
    """Return the step after which a run ends that had learned all after `learned_at` steps.

    At once, unless the KL to the base model is trained beside the facts: then as many steps again,
    with a rate that falls to 0. What was just learned settles in them, in other wordings too, and the
    KL draws the model back (docs/results.md).

    Example:
        >>> from mixsd.config import RetentionConfig
        >>> config = TrainConfig(retention=RetentionConfig(type="kl"))
        >>> [end_of_cooldown(30, 300, config), end_of_cooldown(30, 50, config)]
        [60, 50]
        >>> end_of_cooldown(30, 300, TrainConfig())
        30
    """
    if config.retention.type != "kl":
        return learned_at
    return min(total, learned_at + math.ceil(_COOLDOWN * learned_at))


def learning_rate(step: int, total: int, config: TrainConfig, *, learned_at: int = 0) -> float:
    """Return the learning rate of a step, counted from 0, of `total`.

    A linear rise over the warm-up, then constant, or down to 0 at the end. After all was learned it
    falls to 0 at the end of the cooldown, from wherever it was.

    Args:
        config: With a learning rate, see `rated`.
        learned_at: The step after which all was learned and training was to end; 0 before that.

    Example:
        >>> config = TrainConfig(learning_rate=1.0, schedule="linear", warmup_steps=2)
        >>> [round(learning_rate(step, 6, config), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    peak = config.learning_rate
    if peak is None:
        raise ValueError("the settings leave the learning rate to the model")
    if learned_at and step >= learned_at:
        end = end_of_cooldown(learned_at, total, config)
        left = (end - step) / max(1, end - learned_at)
        return left * learning_rate(step, total, config)
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    match config.schedule:
        case "linear":
            return peak * (1 - done)
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * done))
        case _:
            return peak
