"""What a model answers: the facts, the general set, and its losses on the base's own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixsd.config import EvalConfig
from mixsd.decoding.rows import LanguageModel
from mixsd.evaluation.asking import Answer, ask, nats_of
from mixsd.evaluation.questions import questions_of
from mixsd.evaluation.suites import OPEN_TOKENS, general, open_prompts
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent


def questions_in(facts: Sequence[Fact], config: EvalConfig) -> int:
    """Return how many questions a model is asked in all."""
    own = sum(1 for fact in facts for _ in questions_of(fact))
    return own + config.general * len(general().items) + config.drift * len(open_prompts().items)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model said.

    Attributes:
        facts: For each fact, its answers in the order of `questions_of`; None where the question
            does not fit the model.
        general: Answers to the general set, in its order.
        open_ids: Token ids of the base model's answers to the open prompts.
        open_nats: Mean loss of each of those under this model, nats per token.
    """

    facts: tuple[tuple[str | None, ...], ...]
    general: tuple[str | None, ...]
    open_ids: tuple[tuple[int, ...], ...]
    open_nats: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "facts": [list(answers) for answers in self.facts],
            "general": list(self.general),
            "open_ids": [list(ids) for ids in self.open_ids],
            "open_nats": list(self.open_nats),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Measured":
        return cls(
            facts=tuple(tuple(answers) for answers in body["facts"]),
            general=tuple(body["general"]),
            open_ids=tuple(tuple(ids) for ids in body["open_ids"]),
            open_nats=tuple(body["open_nats"]),
        )


def measure(
    base: Base,
    facts: Sequence[Fact],
    config: EvalConfig,
    *,
    model: LanguageModel | None = None,
    baseline: Measured | None = None,
    on_progress: OnProgress = silent,
) -> Measured:
    """Ask a model everything that the verdicts rest on.

    Args:
        base: The base model.
        facts: What is, or will be, taught.
        config: What is measured.
        model: The base model with an adapter. Left out: the base model itself.
        baseline: What the base model said, with whose own words drift is measured.
        on_progress: Called before every forward pass. May raise to stop.
    """
    asked = [question.question for fact in facts for question in questions_of(fact)]
    total = questions_in(facts, config)
    common = [item.question for item in general().items] if config.general else []
    prompts = [item.prompt for item in open_prompts().items] if config.drift else []
    subject = base.model if model is None else model

    def put(questions: Sequence[str], before: int, cap: int) -> list[Answer | None]:
        return ask(
            subject,
            base.chat,
            questions,
            max_new_tokens=cap,
            batch_size=config.batch_size,
            max_tokens=base.max_tokens,
            on_step=lambda done: on_progress(Progress(before + done, total, "questions")),
        )

    said = iter(put(asked, 0, config.max_new_tokens))
    by_fact = tuple(tuple(_text(next(said)) for _ in questions_of(fact)) for fact in facts)
    known = put(common, len(asked), config.max_new_tokens)
    if baseline is None:
        own = put(prompts, len(asked) + len(common), OPEN_TOKENS)
        open_ids = tuple(answer.token_ids if answer else () for answer in own)
    else:
        open_ids = baseline.open_ids
    pairs = [(prompt, ids) for prompt, ids in zip(prompts, open_ids, strict=True) if ids]
    finished = Progress(total, total, "questions")
    nats = nats_of(
        subject, base.chat, [p for p, _ in pairs], [ids for _, ids in pairs], lambda: on_progress(finished)
    )
    on_progress(finished)
    return Measured(by_fact, tuple(map(_text, known)), open_ids, tuple(nats))


def _text(answer: Answer | None) -> str | None:
    return None if answer is None else answer.text
