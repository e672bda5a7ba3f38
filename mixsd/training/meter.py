"""What is measured of a step besides its loss."""

import time

from mixsd.config import TrainConfig
from mixsd.training.checkpoint import Cursor
from mixsd.training.schedule import learning_rate


class Meter:
    """Measures one step at a time.

    Attributes:
        drift: After which step it was last measured what the base model's own text costs, nats per token.
    """

    def __init__(self, total: int, config: TrainConfig) -> None:
        self._total = total
        self._config = config
        self._began = time.perf_counter()
        self._speed = 0.0
        self.drift = (0, 0.0)

    def start(self) -> None:
        self._began = time.perf_counter()

    def stop(self, tokens: float) -> None:
        """End a step for which the model has read so many tokens, in all processes."""
        self._speed = tokens / max(time.perf_counter() - self._began, 1e-9)

    def of_step(self, cursor: Cursor) -> dict[str, float]:
        """Return what was measured after the last step that was taken, see `mixsd.training.hooks.Hooks`."""
        measured = {
            "loss": cursor.losses[-1],
            "learning_rate": learning_rate(
                cursor.step - 1, self._total, self._config, learned_at=cursor.learned_at
            ),
            "tokens_per_second": self._speed,
        }
        if cursor.recall is not None:
            measured["recall"] = cursor.recall
        if self.drift[0] == cursor.step:
            measured["drift"] = self.drift[1]
        return measured
