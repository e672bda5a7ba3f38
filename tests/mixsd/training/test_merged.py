"""Merged layers: peft's results with one product, and a base model that is never touched."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mixsd.training.merged import MergedLayers
from mixsd.training.ways import TreeWay
from tests.fixtures.families import make_family
from tests.mixsd.training.driving import a_batch, adapted, all_in_float64, gradient, off, trained_of


def results(model: Any, merged: MergedLayers | None) -> list[Tensor]:
    """Return scores, and the gradients of the adapter and of what goes in."""
    hidden = torch.randn(2, 5, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    hidden.requires_grad_()
    model.zero_grad()
    if merged is None:
        scores = model(inputs_embeds=hidden).logits
        scores.square().sum().backward()
    else:
        with merged.running():
            scores = model(inputs_embeds=hidden).logits
            scores.square().sum().backward()
    assert hidden.grad is not None
    return [scores.detach(), hidden.grad, *(p.grad.clone() for p in trained_of(model) if p.grad is not None)]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt-neox"])  # the latter two with biases
@pytest.mark.parametrize("rslora", [False, True])
def test_a_merged_layer_gives_the_results_of_peft(name: str, *, rslora: bool) -> None:
    model = adapted(make_family(name, torch.float64), use_rslora=rslora)

    wanted = results(model, None)
    found = results(model, MergedLayers(model))

    assert len(found) == len(wanted) > 10
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-9 * theirs.abs().max()


def test_it_follows_the_adapter_from_step_to_step() -> None:
    model = adapted(make_family("llama", torch.float64))
    merged = MergedLayers(model)
    results(model, merged)
    with torch.no_grad():
        for parameter in trained_of(model):
            parameter.mul_(1.5)

    assert torch.allclose(results(model, merged)[0], results(model, None)[0], rtol=0, atol=1e-10)


def test_afterwards_the_model_is_as_it_was_also_when_the_block_raises() -> None:
    model = adapted(make_family("llama"))
    base = {name: weight.clone() for name, weight in model.state_dict().items()}
    merged = MergedLayers(model)
    scores = model(torch.tensor([[5, 6, 7]])).logits

    def interrupted() -> None:
        with merged.running():
            assert not torch.equal(model(torch.tensor([[5, 6, 7]])).logits, scores)  # rounding
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert torch.equal(model(torch.tensor([[5, 6, 7]])).logits, scores)
    assert all("forward" not in vars(module) for module in model.modules())
    after = model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in base.items())


def test_without_the_adapter_the_model_is_the_base_to_the_bit() -> None:
    alone = make_family("llama")(torch.tensor([[5, 6, 7]])).logits
    model = adapted(make_family("llama"))

    gradient(model, TreeWay(model), merged=True)

    with model.disable_adapter():
        assert torch.equal(model(torch.tensor([[5, 6, 7]])).logits, alone)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.bfloat16, {}),
        (torch.float32, {"lora_dropout": 0.1}),
        (torch.float32, {"use_dora": True}),
        (torch.float32, {"lora_bias": True}),
    ],
    ids=["bfloat16", "dropout", "dora", "bias"],
)
def test_where_it_would_not_be_exact_peft_multiplies(dtype: torch.dtype, options: dict[str, Any]) -> None:
    assert not MergedLayers(adapted(make_family("gpt-neox", dtype), **options)).buffers


def test_all_linear_layers_of_a_float32_model_are_merged() -> None:
    model = adapted(make_family("llama"))

    assert len(MergedLayers(model).buffers) == 2 * 7


def test_dora_is_trained_by_peft_on_the_tree() -> None:
    model = adapted(make_family("llama", torch.float64), use_dora=True)

    with all_in_float64():
        assert off(gradient(model, TreeWay(model), a_batch(), merged=True), gradient(model)) < 1e-9
