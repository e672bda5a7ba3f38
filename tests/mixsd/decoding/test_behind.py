"""Texts behind prompts that are kept score as the model scores them alone, whatever is kept."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from mixsd.decoding.behind import Behind
from mixsd.decoding.rows import logits_alone
from tests.fixtures.families import FAMILIES, UNSUITED, WINDOW, make_family

LENGTHS = (1, 3, WINDOW, 3 * WINDOW)
TEXTS = ([7], [9, 4, 11, 5], list(range(3, 3 + WINDOW)))


def tokens(length: int) -> tuple[int, ...]:
    return tuple((5 * place + 3) % 300 + 3 for place in range(length))


def alone(model: PreTrainedModel, prompt: Sequence[int], text: Sequence[int]) -> Tensor:
    return logits_alone(model, [*prompt, *text[:-1]], last=len(text))


@pytest.mark.parametrize("family", [*FAMILIES, *UNSUITED])
def test_scores_are_the_models_own(family: str) -> None:
    model = make_family(family, torch.float64)
    behind = Behind()

    for _ in range(2):  # the second time prompts are there already
        for length in LENGTHS:
            for text in TEXTS:
                found_TV = behind.logits(model, tokens(length), text)
                torch.testing.assert_close(found_TV, alone(model, tokens(length), text), rtol=0, atol=1e-9)


class Counted:
    """A model that counts the tokens it reads."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.read = 0

    def __call__(self, *, input_ids: Tensor, **options: Any) -> Any:
        self.read += input_ids.numel()
        return self._model(input_ids=input_ids, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def counted(model: PreTrainedModel, behind: Behind, prompt: Sequence[int], text: Sequence[int]) -> int:
    counting = Counted(model)
    behind.logits(counting, tuple(prompt), text)  # type: ignore[arg-type]
    return counting.read


def test_a_prompt_is_read_once(exact_model: PreTrainedModel) -> None:
    behind = Behind()
    behind.logits(exact_model, tokens(2), [5])  # the trial is over

    read = [counted(exact_model, behind, tokens(20), text) for text in ([5, 6, 7], [8, 9], [8])]

    assert read == [20 + 2, 1, 0]


def test_what_is_kept_changes_no_bit_and_the_oldest_goes_first(exact_model: PreTrainedModel) -> None:
    model = exact_model
    one, two, three = tokens(20), tokens(21), tokens(22)
    text = [5, 6, 7]
    roomy = Behind()
    roomy.logits(model, one, text)
    size = 3 * roomy.used // 2
    for room in (0, size, 2 * size):
        tight = Behind(room)
        for prompt in (one, two, one, three, one, two):
            assert torch.equal(tight.logits(model, prompt, text), roomy.logits(model, prompt, text))
            assert tight.used <= room

    tight = Behind(2 * size)  # two fit
    for prompt in (one, two, one, three):
        tight.logits(model, prompt, text)
    assert [counted(model, tight, prompt, text) for prompt in (one, three, two)] == [2, 2, 21 + 2]


def test_scores_that_are_off_are_not_taken(exact_model: PreTrainedModel) -> None:
    """A model whose cache is no good is read from the beginning every time."""

    class Wrong(Counted):
        def __call__(self, *, input_ids: Tensor, **options: Any) -> Any:
            output = super().__call__(input_ids=input_ids, **options)
            if options.get("use_cache"):
                output.logits = output.logits + 1.0
            return output

    wrong = Wrong(exact_model)
    found_TV = Behind().logits(wrong, tokens(9), [5, 6])  # type: ignore[arg-type]

    assert torch.equal(found_TV, alone(exact_model, tokens(9), [5, 6]))
