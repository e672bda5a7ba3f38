"""The diagonal Fisher of the base model over some of its weights, on general prompts.

F_i is the mean, over answers or over their tokens, of the square of d log p / d theta_i: exactly, by
the gradient of each answer or token by itself, which for a linear layer is the product of what
goes in and of the gradient of what comes out. So no more is kept than F of a few layers, and one
gradient of one layer at a time.

Axes: N tokens, O outputs and I inputs of a layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor

from mixsd.analysis.errors import NotAnalysableError
from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import wide
from mixsd.decoding.solo import write
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.editing.layers import watched
from mixsd.evaluation.suites import OPEN_TOKENS, open_prompts
from mixsd.models.load import Base
from mixsd.training.batches import Example

Kind = Literal["empirical", "sampled"]
Unit = Literal["sequence", "token"]
KINDS: Final[tuple[Kind, ...]] = ("empirical", "sampled")
UNITS: Final[tuple[Unit, ...]] = ("sequence", "token")

TOP_K: Final = 1024
"""Likeliest tokens that an answer is sampled from."""
MOST_BYTES: Final = 1 << 31
"""Of F that is in memory at once."""
_TOGETHER: Final = 32


def answers(
    base: Base,
    kind: Kind,
    *,
    samples: int,
    seed: int,
    max_new_tokens: int = OPEN_TOKENS,
    on_check: Callable[[], None] = lambda: None,
) -> list[Example]:
    """Return what the base model answers to the open prompts.

    Args:
        base: The base model, without an adapter on it.
        kind: `empirical`: its greedy answer to each, the reference that drift is measured with;
            `sampled`: answers drawn at temperature 1 from the `TOP_K` likeliest tokens.
        samples: Answers to each prompt; of `empirical` there is one.
        seed: Names the draws.
        max_new_tokens: Cap of an answer.
        on_check: Called before every forward pass. May raise to stop.

    Raises:
        NotAnalysableError: Not one prompt fits the model.
    """
    greedy = kind == "empirical"
    room = most_tokens(base.model, base.max_tokens) - max_new_tokens
    texts = []
    for item in open_prompts().items:
        prompt = tuple(base.chat.prompt_ids(item.prompt))
        if len(prompt) <= room:
            for number in range(1 if greedy else samples):
                draw = Draw(seed, f"fisher {item.id}", generation=number, attempt=0)
                texts.append(Text(Prompts(prompt), draw, lam=0.0, cap=max_new_tokens))
    if not texts:
        raise NotAnalysableError(
            f"no open prompt and its answer fit into {base.max_tokens} tokens of {base.id}"
        )
    sampling = Sampling(0.0 if greedy else 1.0, 1 if greedy else TOP_K, base.chat.stop_ids)
    write(base.model, texts, sampling, slots=_TOGETHER, on_step=lambda _: on_check())
    return [Example(text.prompts.expert, tuple(text.tokens)) for text in texts]


def diagonals(
    base: Base,
    paths: Sequence[str],
    examples: Sequence[Example],
    *,
    unit: Unit = "sequence",
    most_bytes: int = MOST_BYTES,
    on_check: Callable[[int, int], None] = lambda _, __: None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield the diagonal Fisher of the weight of each layer, [O, I], in float32 or the model's float64.

    Layers are taken in groups whose F fits into `most_bytes`, one layer at least; each group goes over all
    answers once. What was yielded before may be forgotten.

    Args:
        base: The base model, without an adapter on it.
        paths: Of linear layers.
        examples: Answers, each behind its prompt.
        unit: What a gradient is squared of: the log-probability of a whole `sequence`, or of each
            `token` by itself, which takes a pass backward for each.
        most_bytes: Of F at once.
        on_check: Called before every pass with the number of (answer, group) pairs done and all of
            them. May raise to stop.
    """
    groups = list(_groups(base, paths, most_bytes))
    total = len(groups) * len(examples)
    for turn, group in enumerate(groups):
        sums = [_zeros(base, path) for path in group]
        count = 0
        for place, example in enumerate(examples):
            on_check(turn * len(examples) + place, total)
            count += _add_squares(base, group, sums, example, unit)
        while sums:
            yield group[-len(sums)], sums.pop(0) / count
    on_check(total, total)


def _groups(base: Base, paths: Sequence[str], most_bytes: int) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for path in paths:
        needed = _zeros(base, path, device="meta").nbytes
        if group and size + needed > most_bytes:
            yield group
            group, size = [], 0
        group.append(path)
        size += needed
    if group:
        yield group


def _zeros(base: Base, path: str, device: str | None = None) -> Tensor:
    weight: Tensor = base.model.get_submodule(path).weight  # type: ignore[assignment]
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return torch.zeros(weight.shape, dtype=dtype, device=device or weight.device)


def _add_squares(
    base: Base, paths: Sequence[str], sums: Sequence[Tensor], example: Example, unit: Unit
) -> int:
    """Add the squares of the gradients of an answer; return how many gradients that were."""
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def see(place: int, input_TI: Tensor, output_TO: Tensor) -> None:
        if not output_TO.requires_grad:  # nothing below is asked for: the graph begins here
            output_TO.requires_grad_()
        inputs[place], outputs[place] = input_TI.detach().flatten(0, -2), output_TO

    with torch.enable_grad(), ExitStack() as stack:
        for place, path in enumerate(paths):
            stack.enter_context(watched(base.model.get_submodule(path), partial(see, place)))
        chosen_T = _log_probabilities(base, example)
        told = [chosen_T.sum()] if unit == "sequence" else list(chosen_T)
        places = sorted(outputs)
        for number, log_probability in enumerate(told):
            made = torch.autograd.grad(
                log_probability,
                [outputs[place] for place in places],
                retain_graph=number + 1 < len(told),
                allow_unused=True,
            )
            for place, gradient in zip(places, made, strict=True):
                if gradient is not None:
                    _add_square(sums[place], gradient.flatten(0, -2), inputs[place])
    return len(told)


def _add_square(sum_OI: Tensor, gradient_NO: Tensor, input_NI: Tensor) -> None:
    change_OI = gradient_NO.to(sum_OI).T @ input_NI.to(sum_OI)
    sum_OI.addcmul_(change_OI, change_OI)


def _log_probabilities(base: Base, example: Example) -> Tensor:
    """Return log p of each token of an answer, with the graph of what the layers put out, [T]."""
    ids_1T = torch.tensor([example.read], device=base.model.device)
    logits_TV = base.model(input_ids=ids_1T, use_cache=False, logits_to_keep=len(example.target)).logits[0]
    targets_T = torch.tensor(example.target, device=logits_TV.device)
    return -torch.nn.functional.cross_entropy(wide(logits_TV), targets_T, reduction="none")
