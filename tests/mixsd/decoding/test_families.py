"""Every family decodes, batched and cached, what it decodes alone and without a cache."""

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.engine import Engine, Prompts, Sampling, Text
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw
from tests.fixtures.families import FAMILIES, WINDOW, make_family
from tests.fixtures.tiny import VOCABULARY

LAM = 0.3
CAP = 2 * WINDOW + 2
HEADER = 4
GREEDY = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset({2}), pad_id=0)
WARM = Sampling(temperature=1.0, top_k=8, stop_ids=frozenset({2}), pad_id=0)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return make_family(request.param, torch.float64)


def prompts_around_the_window() -> list[Prompts]:
    """Prompts that begin alike and are shorter than the window, as long as it, and longer."""
    dice = torch.Generator().manual_seed(11)
    header, *rests = (
        tuple(torch.randint(3, VOCABULARY, (length,), generator=dice).tolist())
        for length in (HEADER, 1, WINDOW - HEADER, WINDOW, 3 * WINDOW)
    )
    return [Prompts(expert=(*header, *rest, *rest[::-1], 9), naive=(*header, *rest)) for rest in rests]


def texts(prompts: Sequence[Prompts]) -> list[Text]:
    return [
        Text(place, pair, Draw(seed=5, fact_key=f"fact-{place}", generation=0, attempt=0), LAM, CAP)
        for place, pair in enumerate(prompts)
    ]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_family_decodes_the_tokens_of_the_reference(
    model: PreTrainedModel, sampling: Sampling, request: pytest.FixtureRequest
) -> None:
    if model.config.model_type in {"phi3", "mistral"}:
        reason = "`shared_prefix` reads `layer_types`, which these have not, and shares across a window"
        request.applymarker(pytest.mark.xfail(reason=reason))
    prompts = prompts_around_the_window()
    engine = Engine(model, sampling)
    batch = texts(prompts)

    engine.decode(engine.prefill(prompts), batch, lambda: None)

    for text in batch:
        assert text.tokens == decode_alone(model, text.prompts, text.draw, sampling, lam=LAM, cap=CAP)


def test_the_texts_of_a_family_tell_a_wrong_engine_from_a_right_one(model: PreTrainedModel) -> None:
    """Texts that all prompts share, or that hold few tokens, would be equal by accident."""
    batch = texts(prompts_around_the_window())

    decoded = [decode_alone(model, t.prompts, t.draw, GREEDY, lam=LAM, cap=CAP) for t in batch]

    assert len({tuple(text) for text in decoded}) == len(batch)
    assert max(len(set(text)) for text in decoded) > CAP // 2
    assert max(len(text) for text in decoded) > WINDOW
