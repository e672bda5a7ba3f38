"""From texts to records: what is told of a target, and what it costs the model."""

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from typing import Final

import torch

from mixsd.config import MixConfig
from mixsd.decoding.choice import agreement
from mixsd.decoding.engine import Engine
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.text import Prompts, Text
from mixsd.models.load import Base
from mixsd.planning import Job, Measures
from mixsd.prompts import STYLES, PromptStyle
from mixsd.statements import sentence, told
from mixsd.supervision import Finish, Method, Supervision
from mixsd.units import Unit

DECIMALS: Final = 3
SURE: Final = 5e-5
"""By how much company in a batch may change a mean loss, in float32, with a wide margin."""


class Recorder:
    """Makes the records of jobs that are settled."""

    def __init__(self, base: Base, engine: Engine) -> None:
        self._base = base
        self._engine = engine

    def measure(self, text: Text, config: MixConfig) -> Measures:
        """Return what a text that just ended costs. Its rows are still at hand then."""
        model, prompts, tokens = self._base.model, text.prompts, text.tokens
        naive_TV = self._engine.scores_of(text, naive=True)
        nats = settled(mean_loss(naive_TV, tokens), lambda: loss_alone(model, prompts.naive or (), tokens))
        if not config.score_both:
            return Measures(nats)
        expert_TV = self._engine.scores_of(text, naive=False)
        expert = settled(mean_loss(expert_TV, tokens), lambda: loss_alone(model, prompts.expert, tokens))
        alike = agreement(naive_TV.argmax(-1).tolist(), expert_TV.argmax(-1).tolist())
        return Measures(nats, expert, round(alike, DECIMALS))

    def record(self, job: Job) -> Supervision:
        """Return the record of a settled job."""
        if job.too_long:
            return self._record(job, (), "", "prompt_too_long", reason="prompt_too_long")
        if job.kept is None and job.config.fallback_to_answer:
            style = STYLES[job.config.prompt_style]
            target = self._base.chat.target_ids(style.target_text(job.unit.fact.answer))
            nats = nats_per_token(self._base, job.prompts.naive or (), target)
            job.measures = Measures(nats)
            return self._record(job, target, "", "stop", method="fallback", reason="no_attempt_accepted")
        text = job.last
        reason = None if job.kept else ("cap" if text.finish == "cap" else "answer_not_stated")
        return self._record(
            job, text.tokens, "".join(text.picks), text.finish or "cap", text=text, reason=reason
        )

    def _record(
        self,
        job: Job,
        tokens: Sequence[int],
        picks: str,
        finish: Finish,
        *,
        text: Text | None = None,
        method: Method = "mixsd",
        reason: str | None = None,
    ) -> Supervision:
        measures = job.measures
        return Supervision(
            fact_key=job.unit.fact.key,
            generation=job.unit.generation,
            question=job.unit.question,
            text=self._base.chat.decode(tokens),
            token_ids=tuple(tokens),
            picks=picks,
            attempt=text.draw.attempt if text else 0,
            attempts=_attempts(job),
            lam=text.lam if text else 0.0,
            seed=job.config.seed,
            finish_reason=finish,
            verified=method == "mixsd" and reason is None,
            nats_per_token=measures.nats_per_token if measures else None,
            prompt_sha256=prompt_sha256(job.prompts),
            method=method,
            reason=reason,
            expert_nats_per_token=measures.expert_nats_per_token if measures else None,
            agreement=measures.agreement if measures else None,
        )


def _attempts(job: Job) -> int:
    """Return how many attempts it takes one after another: none behind the kept one counts."""
    if job.kept is None:
        return len(job.failed)
    return 1 + sum(attempt < job.kept.draw.attempt for attempt in job.failed)


def plain_record(
    base: Base, unit: Unit, style: PromptStyle, *, seed: int, natural: bool = False
) -> Supervision:
    """Return the record of plain fine-tuning for one target.

    Args:
        natural: Take a full sentence that states the fact, if it fits, and not the style's own.
    """
    prompt = tuple(base.chat.prompt_ids(style.naive_prompt(unit.question)))
    texts = _sentences(unit) if natural else []
    targets = [base.chat.target_ids(text) for text in (*texts, style.target_text(unit.fact.answer))]
    fitting = [target for target in targets if len(prompt) + len(target) <= base.max_tokens]
    target = fitting[0] if fitting else []
    too_long = not fitting
    return Supervision(
        fact_key=unit.fact.key,
        generation=unit.generation,
        question=unit.question,
        text=base.chat.decode(target),
        token_ids=tuple(target),
        picks="",
        attempt=0,
        attempts=0,
        lam=0.0,
        seed=seed,
        finish_reason="prompt_too_long" if too_long else "stop",
        verified=not too_long,
        nats_per_token=None if too_long else nats_per_token(base, prompt, target),
        prompt_sha256=prompt_sha256(Prompts(expert=(), naive=prompt)),
        method="sft",
        reason="prompt_too_long" if too_long else None,
    )


def _sentences(unit: Unit) -> list[str]:
    """Return full sentences that state a fact, the best first."""
    made = sentence(unit.question, unit.fact.answer)
    return [text for text in (told(unit.fact), made) if text]


def nats_per_token(base: Base, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """Return the mean loss of `tokens` behind `prompt`, in nats, from a forward pass of its own."""
    return round(loss_alone(base.model, prompt, tokens), DECIMALS)


def loss_alone(model: torch.nn.Module, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """Return the same, not rounded."""
    logits_TV = logits_alone(model, [*prompt, *tokens], last=len(tokens) + 1)[:-1]  # type: ignore[arg-type]
    return mean_loss(logits_TV, tokens)


def mean_loss(logits_TV: torch.Tensor, tokens: Sequence[int]) -> float:
    """Return the mean loss of tokens, in nats, from the scores at their places."""
    chosen_T1 = torch.tensor(list(tokens), device=logits_TV.device)[:, None]
    return float((-logits_TV.log_softmax(-1).gather(-1, chosen_T1)).mean())


def settled(value: float, alone: Callable[[], float]) -> float:
    """Round a loss that was measured in company to what it would be alone.

    Only near the edge of two rounded values can they differ; there it is measured again, alone.
    """
    steps = value * 10**DECIMALS
    to_edge = abs(steps - math.floor(steps) - 0.5) / 10**DECIMALS
    return round(alone() if to_edge < SURE else value, DECIMALS)


def prompt_sha256(prompts: Prompts) -> str:
    """Return a digest of the token ids of both prompts."""
    digest = hashlib.sha256()
    for ids in (prompts.expert, prompts.naive or ()):
        digest.update(struct.pack(f"<q{len(ids)}q", len(ids), *ids))
    return digest.hexdigest()
