"""What a model is computed in while it is trained, as far as the device can do it."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

from mixsd.config import TrainConfig
from mixsd.errors import ConfigError
from mixsd.training.attention import NAME, attend
from mixsd.training.memory import checkpointed_layers


def check_device(device: torch.device, config: TrainConfig) -> None:
    """Refuse settings that a device cannot do.

    Raises:
        ConfigError: Says which, and what to set instead.
    """
    cuda = device.type == "cuda"
    if config.shard != "none" and device.type not in {"cpu", "cuda"}:
        raise ConfigError(
            f"shard {config.shard} is for CUDA devices, and for CPUs to try it, and this is {device.type}: "
            "set shard to none"
        )
    if config.precision == "bf16" and not (cuda and torch.cuda.is_bf16_supported()):
        raise ConfigError(
            f"precision bf16 is for CUDA devices that compute in it, and this is {device.type}: "
            "set precision to auto or fp32"
        )
    if config.compile_layers and not cuda:
        raise ConfigError(
            f"compile_layers is for CUDA devices, and this is {device.type}: set compile_layers to false"
        )
    if config.quantize != "none" and not cuda:
        raise ConfigError(
            f"quantize {config.quantize} is for CUDA devices, and this is {device.type}: set quantize to none"
        )
    if config.quantize != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"quantize {config.quantize} needs the package bitsandbytes: install it, or set quantize to none"
        )


def autocast_for(device: torch.device, precision: str) -> torch.dtype | None:
    """Return what is computed in instead of the type of the weights, None for that type."""
    if precision == "fp32" or device.type != "cuda" or not torch.cuda.is_bf16_supported():
        return None
    return torch.bfloat16


@contextmanager
def compiled_layers(model: PeftModel, *, backend: str = "inductor") -> Iterator[None]:
    """Compile the layers of a model, each by itself, while the block runs. Attention stays as it is."""
    layers: list[Any] = checkpointed_layers(model)
    AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
    try:
        for layer in layers:
            layer.compile(backend=backend, dynamic=True)
        yield
    finally:
        AttentionInterface.register(NAME, attend)
        for layer in layers:
            layer._compiled_call_impl = None  # noqa: SLF001  there is no public way back


Make = Callable[[nn.Linear], nn.Module]


@contextmanager
def layers_replaced(model: PreTrainedModel, make: Make) -> Iterator[None]:
    """Put another layer in the place of each linear one but the head while the block runs.

    An adapter may be put on and stay; the layers under it are then the model's own again.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    own = {
        path: module
        for path, module in model.named_modules()
        if type(module) is nn.Linear and module is not head
    }
    try:
        for path, module in own.items():
            _put(model, path, make(module))
        yield
    finally:
        for path, module in own.items():
            _put(model, path, module)


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    around: Any = model.get_submodule(parent)
    adapted = hasattr(getattr(around, name), "base_layer")
    setattr(getattr(around, name) if adapted else around, "base_layer" if adapted else name, layer)


@contextmanager
def in_four_bits(model: PreTrainedModel) -> Iterator[None]:
    """Keep the linear layers of a model as NF4 on its device, and the exact ones on the CPU."""
    import bitsandbytes  # noqa: PLC0415  only where it was asked for

    device, exact = model.device, list[nn.Linear]()

    def make(linear: nn.Linear) -> nn.Module:
        layer = bitsandbytes.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=torch.bfloat16,
            quant_type="nf4",
        )
        weight = linear.weight.detach()
        layer.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
        if linear.bias is not None:
            layer.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
        layer.to(device)
        exact.append(linear.to("cpu"))
        return layer  # type: ignore[no-any-return]

    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # peft looks for it
    try:
        with layers_replaced(model, make):
            yield
    finally:
        model.is_loaded_in_4bit = False  # type: ignore[assignment]
        for linear in exact:
            linear.to(device)
