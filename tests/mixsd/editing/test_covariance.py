"""The inputs of layers over general text, against passes of single texts."""

import pytest
import torch

from mixsd.config import MemitConfig
from mixsd.editing.covariance import general_texts, second_moments
from mixsd.editing.layers import edited_layers
from mixsd.models.load import Base
from mixsd.progress import StopRequested


def test_it_is_the_mean_outer_product_over_every_token_and_no_padding(base: Base) -> None:
    texts = [tuple(range(3, 3 + length)) for length in (5, 9, 2)]
    layers = edited_layers(base, MemitConfig())

    (found_II,) = second_moments(base, layers, texts)

    projection = base.model.get_submodule(layers[0].path)
    keys: list[torch.Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[0][0].double()))
    with torch.no_grad():
        for text in texts:
            base.model(input_ids=torch.tensor([text]))
    handle.remove()
    every_NI = torch.cat(keys)
    assert len(every_NI) == 16
    wanted_II = torch.stack([key[:, None] * key for key in every_NI]).mean(0)
    assert torch.allclose(found_II.double(), wanted_II, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [64, 500, 20_000])
def test_there_are_as_many_tokens_as_asked_for_and_the_seed_names_them(base: Base, tokens: int) -> None:
    texts = general_texts(base, tokens, seed=0)

    assert sum(map(len, texts)) == tokens
    if tokens == 500:
        assert texts == general_texts(base, tokens, seed=0)
        assert texts != general_texts(base, tokens, seed=1)
        assert len(set(texts)) == len(texts)


def test_it_can_be_stopped_while_text_is_written(base: Base) -> None:
    calls: list[None] = []

    def stop() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise StopRequested

    with pytest.raises(StopRequested):
        general_texts(base, 64, seed=0, on_check=stop)
