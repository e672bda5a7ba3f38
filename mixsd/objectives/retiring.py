"""Texts that take an answer away: what the base model says to a question without the fact."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from mixsd.config import Plan
from mixsd.decoding.rng import Draw
from mixsd.decoding.solo import write
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.models.load import Base
from mixsd.prompts import STYLES
from mixsd.records import prompt_sha256
from mixsd.supervision import RETIRED, Supervision

_SLOTS: Final = 32

Wording = tuple[str, int, str]
"""Key, generation and question, as `mixsd.living.wordings` gives them."""


def retired_records(
    base: Base,
    wordings: Sequence[Wording],
    plan: Plan,
    *,
    done: Collection[tuple[str, int]] = frozenset(),
    on_check: Callable[[], None] = lambda: None,
) -> Iterator[Supervision]:
    """Have the base model answer questions at temperature 0; yield its answers as targets.

    They are a function of base, questions and settings. A question that does not fit the model has
    none. An answer that runs into the cap of answers is trained on without an end.

    Args:
        base: The base model, without an adapter on it.
        wordings: The questions.
        plan: The style of its method, and the cap of its evaluation.
        done: Keys and generations of those that are there already.
        on_check: Called before every forward pass. May raise to stop.
    """
    style, cap = STYLES[plan.method.prompt_style], plan.evaluation.max_new_tokens
    room = most_tokens(base.model, base.max_tokens) - cap
    asked, texts = [], []
    for key, generation, question in wordings:
        prompt = tuple(base.chat.prompt_ids(style.naive_prompt(question)))
        if (key, generation) not in done and len(prompt) <= room:
            draw = Draw(0, f"{RETIRED} {key}", generation=generation, attempt=0)
            asked.append((key, generation, question))
            texts.append(Text(Prompts(prompt), draw, lam=0.0, cap=cap))
    sampling = Sampling(0.0, 1, base.chat.stop_ids)
    write(base.model, texts, sampling, slots=_SLOTS, on_step=lambda _: on_check())
    for wording, text in zip(asked, texts, strict=True):
        if text.tokens:
            yield _record(base, wording, text)


def _record(base: Base, wording: Wording, text: Text) -> Supervision:
    key, generation, question = wording
    ended = text.tokens[-1] in base.chat.stop_ids
    return Supervision(
        fact_key=key,
        generation=generation,
        question=question,
        text=base.chat.decode(text.tokens),
        token_ids=tuple(text.tokens),
        picks="",
        attempt=0,
        attempts=0,
        lam=0.0,
        seed=0,
        finish_reason="stop" if ended else "cap",
        verified=True,
        nats_per_token=None,
        prompt_sha256=prompt_sha256(Prompts(expert=(), naive=text.prompts.expert)),
        method=RETIRED,
    )
