"""Which layers can be edited, on which models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mixsd import run
from mixsd.config import MemitConfig
from mixsd.editing.layers import band_of, batches_of, blocks_to, edited_layers, run_to, standing_in, watched
from mixsd.errors import ConfigError
from mixsd.models.load import Base
from tests.mixsd.editing.conftest import memit

SUITED = ("llama", "qwen2", "qwen3", "phi3", "mistral", "gpt-neox", "cohere")
OfFamily = Callable[[str], Base]


@pytest.mark.parametrize(
    ("count", "first", "last"), [(2, 0, 0), (3, 0, 1), (12, 1, 4), (28, 3, 11), (30, 3, 12), (36, 4, 14)]
)
def test_the_band_is_that_of_the_paper_scaled(count: int, first: int, last: int) -> None:
    assert band_of(count) == tuple(range(first, last + 1))


@pytest.mark.parametrize("name", SUITED)
def test_the_projection_of_the_mlp_is_found(of_family: OfFamily, name: str) -> None:
    base = of_family(name)

    (layer,) = edited_layers(base, MemitConfig())

    assert layer.number == 0
    projection: Any = base.model.get_submodule(layer.path)
    assert projection.in_features > 48  # wider than the model: it leads back
    assert layer.path.startswith(layer.block)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "bloom"])
def test_a_model_that_does_something_else_with_what_the_mlp_says_is_refused(
    of_family: OfFamily, name: str
) -> None:
    with pytest.raises(ConfigError, match=rf"tiny/{name}.*do something else with it: use another method"):
        run.check(of_family(name), memit())


@pytest.mark.parametrize("name", ["lfm2", "gpt-oss", "mamba"])
def test_a_model_without_such_layers_is_refused(of_family: OfFamily, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"tiny/{name} .* has no linear mlp\.down_proj"):
        run.check(of_family(name), memit())


@pytest.mark.parametrize(("layers", "message"), [([1], "0 to 0 can be edited"), ([0, 7], "got 7")])
def test_layers_that_are_not_there_or_that_none_reads_are_refused(
    base: Base, layers: list[int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run.check(base, memit(layers=layers))


@pytest.mark.parametrize("name", SUITED)
def test_what_is_left_out_below_a_layer_changes_nothing_above(of_family: OfFamily, name: str) -> None:
    base = of_family(name)
    (layer,) = edited_layers(base, MemitConfig())
    ids_BT = torch.arange(3, 19).view(2, 8)
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        block = base.model.get_submodule(layer.block)
        with watched(block, lambda _, output: seen.append(output)):
            wanted = base.model(input_ids=ids_BT, use_cache=False).logits
        assert torch.equal(run_to(base.model, block, ids_BT), seen[0])
        with standing_in(blocks_to(base.model, layer), seen[0]):
            found = base.model(input_ids=torch.zeros_like(ids_BT), use_cache=False).logits
        again = base.model(input_ids=ids_BT, use_cache=False).logits

    assert torch.equal(found, wanted)
    assert torch.equal(again, wanted)


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"most": 9, "tokens": 100, "alone": None}, [[1, 3, 0, 2]]),
        ({"most": 2, "tokens": 100, "alone": None}, [[1, 3], [0, 2]]),
        ({"most": 9, "tokens": 12, "alone": None}, [[1, 3, 0], [2]]),
        ({"most": 9, "tokens": 1, "alone": None}, [[1], [3], [0], [2]]),
        ({"most": 9, "tokens": 100, "alone": 3}, [[1, 3], [0], [2]]),
    ],
)
def test_texts_of_a_batch_are_about_as_long(options: dict[str, Any], batches: list[list[int]]) -> None:
    assert batches_of([4, 1, 9, 2], **options) == batches
