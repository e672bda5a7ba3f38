"""Texts that continue one prompt each: answers, and rollouts of a model that is being trained."""

from collections.abc import Callable, Sequence

from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.rows import LanguageModel
from mixsd.decoding.text import Sampling, Text


def write(
    model: LanguageModel,
    texts: Sequence[Text],
    sampling: Sampling,
    *,
    slots: int,
    on_step: Callable[[int], None],
    remember: bool = True,
) -> None:
    """Bring every text to its end, many side by side.

    Args:
        model: The base model, or one with an adapter. It should be in evaluation mode.
        texts: With an expert prompt alone, and their caps; they hold their tokens afterwards.
        sampling: How tokens are chosen.
        slots: Texts side by side. What is written does not depend on it.
        on_step: Called before every forward pass with the number of texts that ended. May raise.
        remember: Whether texts with a common memo use what others found out. Long draws from a whole
            vocabulary fill memory with it, and what is written does not depend on it.
    """
    knobs = Knobs(slots=min(slots, max(1, len(texts))), memo=remember)
    engine = Engine(model, sampling, sides=1, knobs=knobs)
    waiting = iter(texts)
    ended = 0
    while True:
        on_step(ended)
        while engine.free and (text := next(waiting, None)) is not None:
            engine.admit(text)
        if engine.idle:
            return
        ended += len(engine.step())
