"""Continuations of a shared text: the same likelihoods as one by one, for every family that can."""

import random

import pytest
import torch

from mixsd.benchmarks.continuations import Likelihood, NotSharedError, Shared, likelihoods
from mixsd.progress import StopRequested
from tests.fixtures.families import FAMILIES, make_family
from tests.fixtures.tiny import VOCABULARY


def texts(seed: int, *, lengths: tuple[int, ...] = (9, 12, 9, 9, 15)) -> list[Shared]:
    """Return texts longer than a sliding window, with 1 to 4 continuations of 1 to 4 tokens."""
    rng = random.Random(seed)  # noqa: S311  no secret

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, VOCABULARY) for _ in range(count))

    return [
        Shared(tokens(length), tuple(tokens(rng.randint(1, 4)) for _ in range(rng.randint(1, 4))))
        for length in lengths
    ]


@torch.inference_mode()
def one_by_one(model: torch.nn.Module, text: Shared) -> list[Likelihood]:
    found = []
    for answer in text.answers:
        whole = torch.tensor([[*text.context, *answer]])
        logs = model(input_ids=whole[:, :-1]).logits[0, -len(answer) :].log_softmax(-1)
        chosen = logs[torch.arange(len(answer)), torch.tensor(answer)]
        found.append((float(chosen.sum()), bool((logs.argmax(-1) == torch.tensor(answer)).all())))
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [1, 6])
def test_they_are_those_of_one_by_one(family: str, rows: int) -> None:
    model = make_family(family, torch.float64)
    asked = texts(1)
    seen: list[int] = []

    found = likelihoods(model, asked, rows=rows, on_rows=seen.append)

    for text, told in zip(asked, found, strict=True):
        wanted = one_by_one(model, text)
        assert [value for value, _ in told] == pytest.approx([value for value, _ in wanted], abs=1e-4)
        assert [greedy for _, greedy in told] == [greedy for _, greedy in wanted]
    assert sum(seen) == sum(len(text.answers) for text in asked)
    assert len(seen) == (5 if rows == 1 else len(seen))


def test_the_likeliest_continuation_is_known() -> None:
    model = make_family("llama")
    context = texts(2)[0].context
    with torch.inference_mode():
        best = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    other = (best + 1) % VOCABULARY

    ((first, second),) = likelihoods(
        model, [Shared(context, ((best,), (other, 3)))], rows=4, on_rows=lambda _: None
    )
    assert (first[1], second[1]) == (True, False)
    assert first[0] > second[0]


@pytest.mark.parametrize("family", ["mamba", "lfm2"])
def test_a_model_that_keeps_states_beside_keys_is_refused(family: str) -> None:
    with pytest.raises(NotSharedError):
        likelihoods(make_family(family), texts(1), rows=4, on_rows=lambda _: None)


def test_it_may_be_stopped_before_a_pass() -> None:
    def stop(_: int) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        likelihoods(make_family("llama"), texts(1), rows=4, on_rows=stop)
