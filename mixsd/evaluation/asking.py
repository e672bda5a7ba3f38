"""Ask a model questions: greedy answers, many side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from mixsd.decoding.rows import LanguageModel, Rows
from mixsd.tokens import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. `token_ids` hold the token that ended it, if one did before the cap."""

    text: str
    token_ids: tuple[int, ...]


def ask(
    model: LanguageModel,
    chat: ChatTokenizer,
    questions: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    max_tokens: int,
    on_step: Callable[[int], None],
) -> list[Answer | None]:
    """Return a greedy answer to each question; None where question and answer cannot fit.

    Args:
        model: The base model, or one with an adapter.
        chat: Its tokenizer.
        questions: User turns.
        max_new_tokens: Cap of an answer.
        batch_size: Questions side by side. Those of like length go together.
        max_tokens: Most tokens of prompt and answer together.
        on_step: Called before every forward pass with the number of questions answered. May raise.
    """
    prompts = [chat.prompt_ids(question) for question in questions]
    fitting = [place for place, ids in enumerate(prompts) if len(ids) + max_new_tokens <= max_tokens]
    fitting.sort(key=lambda place: len(prompts[place]))
    answers: list[Answer | None] = [None] * len(questions)
    for start in range(0, len(fitting), batch_size):
        places = fitting[start : start + batch_size]
        texts = _greedy(model, chat, [prompts[p] for p in places], max_new_tokens, partial(on_step, start))
        for place, ids in zip(places, texts, strict=True):
            answers[place] = Answer(chat.decode(ids), tuple(ids))
    on_step(len(questions))
    return answers


def _greedy(
    model: LanguageModel,
    chat: ChatTokenizer,
    prompts: Sequence[Sequence[int]],
    cap: int,
    on_step: Callable[[], None],
) -> list[list[int]]:
    """Continue prompts with their likeliest tokens. Rows leave the batch as they end."""
    texts: list[list[int]] = [[] for _ in prompts]
    on_step()
    rows = Rows.prefill(model, prompts, pad_id=chat.pad_id)
    live = list(range(len(prompts)))
    while live:
        tokens = rows.logits_RV.argmax(-1).tolist()
        for place, token in zip(live, tokens, strict=True):
            texts[place].append(token)
        staying = [
            row for row, place in enumerate(live)
            if texts[place][-1] not in chat.stop_ids and len(texts[place]) < cap
        ]  # fmt: skip
        if len(staying) < len(live):
            live = [live[row] for row in staying]
            if not live:
                break
            rows = rows.select(staying)
        on_step()
        rows.feed([texts[place][-1] for place in live])
    return texts


@torch.inference_mode()
def nats_of(
    model: LanguageModel, chat: ChatTokenizer, prompts: Sequence[str], texts: Sequence[Sequence[int]]
) -> list[float]:
    """Return the mean loss of each text behind its prompt, in nats per token. One text at a time."""
    losses = []
    for prompt, ids in zip(prompts, texts, strict=True):
        tokens = torch.tensor([[*chat.prompt_ids(prompt), *ids]], device=model.device)
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=len(ids) + 1).logits[0, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits.float(), tokens[0, -len(ids) :])))
    return losses
