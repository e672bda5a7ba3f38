"""How many steps there are, and the learning rate as a function of the step. Nothing here loads torch."""

import math

from mixsd.config import TrainConfig


def planned_steps(count: int, config: TrainConfig) -> int:
    """Return how many steps a run over `count` examples takes, if it does not end early."""
    planned = max(config.epochs * math.ceil(count / config.batch_size), config.min_steps)
    return min(planned, config.max_steps) if config.max_steps else planned


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, counted from 0, of `total`.

    A linear rise over the warm-up, then constant, or down to 0 at the end.

    Example:
        >>> config = TrainConfig(learning_rate=1.0, schedule="linear", warmup_steps=2)
        >>> [round(learning_rate(step, 6, config), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    match config.schedule:
        case "linear":
            return config.learning_rate * (1 - done)
        case "cosine":
            return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        case _:
            return config.learning_rate
