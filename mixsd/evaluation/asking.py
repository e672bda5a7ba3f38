"""Ask a model questions: greedy answers, many side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import LanguageModel
from mixsd.decoding.solo import write
from mixsd.decoding.text import Prompts, Sampling, Text
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
        batch_size: Questions side by side.
        max_tokens: Most tokens of prompt and answer together.
        on_step: Called before every forward pass with the number of questions answered. May raise.
    """
    prompts = [tuple(chat.prompt_ids(question)) for question in questions]
    fitting = [place for place, ids in enumerate(prompts) if len(ids) + max_new_tokens <= max_tokens]
    texts = [_greedy(prompts[place], max_new_tokens) for place in fitting]
    sampling = Sampling(temperature=0.0, top_k=1, stop_ids=chat.stop_ids)
    write(model, texts, sampling, slots=batch_size, on_step=on_step)
    answers: list[Answer | None] = [None] * len(questions)
    for place, text in zip(fitting, texts, strict=True):
        answers[place] = Answer(chat.decode(text.tokens), tuple(text.tokens))
    on_step(len(questions))
    return answers


def _greedy(prompt: tuple[int, ...], cap: int) -> Text:
    return Text(Prompts(prompt), Draw(seed=0, fact_key="", generation=0, attempt=0), lam=0.0, cap=cap)


@torch.inference_mode()
def nats_of(
    model: LanguageModel,
    chat: ChatTokenizer,
    prompts: Sequence[str],
    texts: Sequence[Sequence[int]],
    on_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the mean loss of each text behind its prompt, in nats per token. One text at a time.

    `on_step` is called before every forward pass, and may raise.
    """
    losses = []
    for prompt, ids in zip(prompts, texts, strict=True):
        on_step()
        tokens = torch.tensor([[*chat.prompt_ids(prompt), *ids]], device=model.device)
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=len(ids) + 1).logits[0, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits.float(), tokens[0, -len(ids) :])))
    return losses
