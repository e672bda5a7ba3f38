"""What runs on GPUs alone, as far as a CPU can try it."""

import pytest
import torch
from torch import nn

from mixsd.config import TrainConfig
from mixsd.errors import ConfigError
from mixsd.training.compute import autocast_for, check_device, compiled_layers, layers_replaced
from mixsd.training.merged import MergedLayers
from mixsd.training.ways import TreeWay
from tests.fixtures.families import make_family
from tests.mixsd.training.driving import a_batch, adapted, gradient, off

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "has", "precision", "expected"),
    [
        ("cuda", True, "auto", torch.bfloat16),
        ("cuda", True, "bf16", torch.bfloat16),
        ("cuda", True, "fp32", None),
        ("cuda", False, "auto", None),
        ("cpu", True, "auto", None),
    ],
)
def test_half_precision_is_taken_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, expected: torch.dtype | None, *, has: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has)

    assert autocast_for(torch.device(device), precision) == expected


def test_a_gpu_without_bfloat16_is_refused_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)

    check_device(CUDA, TrainConfig(compile_layers=True))
    with pytest.raises(ConfigError, match="precision"):
        check_device(CUDA, TrainConfig(precision="bf16"))


def test_only_cuda_and_cpus_are_sharded() -> None:
    config = TrainConfig(shard="full", processes=2)

    check_device(CUDA, config)
    check_device(torch.device("cpu"), config)
    with pytest.raises(ConfigError, match=r"shard full is for CUDA .* this is mps: set shard to none"):
        check_device(torch.device("mps"), config)


def test_four_bits_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(ConfigError, match="bitsandbytes"):
        check_device(CUDA, TrainConfig(quantize="nf4"))


@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself
def test_compiled_layers_give_the_same_gradient_and_are_as_before_afterwards() -> None:
    model = adapted(make_family("llama"))
    wanted = gradient(model, TreeWay(model), merged=True)

    with compiled_layers(model, backend="eager"):
        found = gradient(model, TreeWay(model), merged=True)
        again = gradient(model, TreeWay(model), a_batch()[:3], merged=True)

    assert off(found, wanted) < 1e-4
    assert off(again, gradient(model, TreeWay(model), a_batch()[:3])) < 1e-4
    assert all(module._compiled_call_impl is None for module in model.modules())  # noqa: SLF001
    assert torch.equal(gradient(model, TreeWay(model), merged=True), wanted)


class Rounded(nn.Module):
    """Stands in for a layer in four bits."""

    def __init__(self, exact: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter((exact.weight * 8).round() / 8, requires_grad=False)

    def forward(self, input_NI: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input_NI, self.weight)


class RoundedLinear(nn.Linear):
    """The same as a subclass, which is how peft finds it."""


def test_replaced_layers_are_trained_on_and_the_exact_ones_come_back_under_the_adapter() -> None:
    base = make_family("llama")
    ids = torch.tensor([[5, 6, 7]])
    exact = base(ids).logits
    before = dict(base.named_parameters())

    def make(linear: nn.Linear) -> nn.Linear:
        rounded = RoundedLinear(linear.in_features, linear.out_features, bias=False)
        rounded.weight = nn.Parameter((linear.weight * 8).round() / 8, requires_grad=False)
        return rounded

    with layers_replaced(base, make):
        rough = base(ids).logits
        model = adapted(base)
        assert not MergedLayers(model).buffers
        found = gradient(model, TreeWay(model))
        assert off(found, gradient(model)) < 1e-4

    assert not torch.allclose(rough, exact, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(model(ids).logits, exact)
    after = {name.replace(".base_layer", ""): weight for name, weight in base.named_parameters()}
    assert all(after[name] is weight for name, weight in before.items())
    model.unload()
    assert torch.equal(base(ids).logits, exact)


def test_without_an_adapter_replaced_layers_come_back_too() -> None:
    base = make_family("llama")
    exact = base(torch.tensor([[5, 6, 7]])).logits

    def interrupted() -> None:
        with layers_replaced(base, Rounded):
            assert not torch.equal(base(torch.tensor([[5, 6, 7]])).logits, exact)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert torch.equal(base(torch.tensor([[5, 6, 7]])).logits, exact)
