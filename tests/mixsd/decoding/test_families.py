"""Every family decodes, batched and cached, what it decodes alone and without a cache."""

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw
from mixsd.decoding.suited import longest_text, way_for
from mixsd.decoding.text import Prompts, Sampling, Text
from tests.fixtures.families import FAMILIES, SHORT_ROPE, STRETCHED, UNSUITED, WINDOW, make_family
from tests.fixtures.tiny import VOCABULARY

LAM = 0.3
CAP = 2 * WINDOW + 2
HEADER = 4
GREEDY = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset({2}))
WARM = Sampling(temperature=1.0, top_k=8, stop_ids=frozenset({2}))


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
        Text(pair, Draw(seed=5, fact_key=f"fact-{place}", generation=0, attempt=0), LAM, CAP)
        for place, pair in enumerate(prompts)
    ]


def decode(model: PreTrainedModel, sampling: Sampling, knobs: Knobs) -> list[Text]:
    engine = Engine(model, sampling, knobs=knobs)
    batch = texts(prompts_around_the_window())
    waiting = list(batch)
    while waiting or not engine.idle:
        while waiting and engine.free:
            engine.admit(waiting.pop(0))
        engine.step()
    return batch


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_family_decodes_the_tokens_of_the_reference(
    model: PreTrainedModel, sampling: Sampling, slots: int
) -> None:
    batch = decode(model, sampling, Knobs(slots=slots, chunk=5))

    assert way_for(model).name == "flat"
    for text in batch:
        assert text.tokens == decode_alone(model, text.prompts, text.draw, sampling, lam=LAM, cap=CAP)


@pytest.mark.parametrize("name", UNSUITED)
def test_a_model_that_cannot_be_run_so_is_run_another_way_with_the_same_tokens(name: str) -> None:
    model = make_family(name, torch.float64)

    batch = decode(model, WARM, Knobs(slots=3))

    way = way_for(model)
    assert way.name in {"cached", "plain"}
    assert way.reasons
    for text in batch[:2]:
        assert text.tokens == decode_alone(model, text.prompts, text.draw, WARM, lam=LAM, cap=CAP)


@pytest.mark.parametrize("name", STRETCHED)
def test_where_a_longer_text_would_change_others_texts_are_kept_short(name: str) -> None:
    model = make_family(name, torch.float64)

    assert longest_text(model) == SHORT_ROPE
    assert longest_text(make_family("llama")) is None


def test_the_texts_of_a_family_tell_a_wrong_engine_from_a_right_one(model: PreTrainedModel) -> None:
    """Texts that all prompts share, or that hold few tokens, would be equal by accident."""
    batch = texts(prompts_around_the_window())

    decoded = [decode_alone(model, t.prompts, t.draw, GREEDY, lam=LAM, cap=CAP) for t in batch]

    assert len({tuple(text) for text in decoded}) == len(batch)
    assert max(len(set(text)) for text in decoded) > CAP // 2
    assert max(len(text) for text in decoded) > WINDOW
