"""What a model knows of the facts, while it is trained and after."""

from collections.abc import Callable, Sequence

from mixsd.config import EvalConfig
from mixsd.decoding.rows import LanguageModel
from mixsd.evaluation.asking import ask
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.scoring import scorer


def answered(
    base: Base,
    model: LanguageModel,
    pairs: Sequence[tuple[str, Fact]],
    config: EvalConfig,
    *,
    on_step: Callable[[int], None] = lambda _: None,
) -> list[bool]:
    """Say of each question whether a model answers it with the answer of its fact.

    Args:
        base: Where the model comes from.
        model: The base model, or one with an adapter, in evaluation mode.
        pairs: Questions, each with its fact.
        config: How answers are made and checked.
        on_step: Called before every forward pass. May raise.
    """
    right = scorer(config.verifier)
    answers = ask(
        model,
        base.chat,
        [question for question, _ in pairs],
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        max_tokens=base.max_tokens,
        on_step=on_step,
    )
    return [
        answer is not None and right(answer.text, (fact.answer, *fact.aliases))
        for answer, (_, fact) in zip(answers, pairs, strict=True)
    ]
