"""LoRA layers that multiply once: by W + s B A, made anew for every optimizer step.

peft multiplies by W, A and B and adds up results as large as the layer's output. Here the product
s B A is added to a copy of the weight once a step, which costs as much as `rank` tokens do, and the
gradients of A and B come from the input and the gradient of the output alone. The weights of the
base model are not touched, and A and B stay peft's own parameters.

Only where this is exact but for rounding: float32 or float64 throughout, no dropout, plain LoRA.
Half precision would round small updates away.

Axes: N tokens, I inputs and O outputs of a layer, R rank.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

_ADAPTER: Final = "default"
_EXACT: Final = {torch.float32, torch.float64}


class MergedLayers:
    """The layers of a model that may be merged, each with room for its merged weight."""

    def __init__(self, model: PeftModel) -> None:
        self._layers = [_MergedLayer(layer) for layer in mergeable_layers(model)]

    @property
    def buffers(self) -> list[Tensor]:
        """The merged weights."""
        return [layer.merged_OI for layer in self._layers]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Merge the adapter as it is now, and multiply by that while the block runs."""
        try:
            for layer in self._layers:
                layer.merge()
            yield
        finally:
            for layer in self._layers:
                layer.release()


def mergeable_layers(model: PeftModel) -> list[Any]:
    """Return the adapted layers of a model that may be merged."""
    return [layer for layer in model.modules() if type(layer) is LoraLinear and _may_be_merged(layer)]


def bytes_of(layers: list[Any]) -> int:
    """Return what the merged weights of layers take."""
    return sum(layer.base_layer.weight.nbytes for layer in layers)


def _may_be_merged(layer: Any) -> bool:
    plain = type(layer.base_layer) is nn.Linear and layer.active_adapters == [_ADAPTER]
    if not plain or layer.lora_variant or layer.lora_bias[_ADAPTER] or layer.merged or layer.disable_adapters:
        return False
    weights = (layer.base_layer.weight, layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight)
    dtypes = {weight.dtype for weight in weights}
    return len(dtypes) == 1 and dtypes <= _EXACT and isinstance(layer.lora_dropout[_ADAPTER], nn.Identity)


class _MergedLayer:
    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._weight_OI, self._bias_O = layer.base_layer.weight, layer.base_layer.bias
        self._a_RI, self._b_OR = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        self._scale = float(layer.scaling[_ADAPTER])
        self._forward = self.forward  # one object, as compilers compare it
        self.merged_OI = torch.empty_like(self._weight_OI)

    @torch.no_grad()
    def merge(self) -> None:
        torch.addmm(self._weight_OI, self._b_OR, self._a_RI, alpha=self._scale, out=self.merged_OI)
        self._layer.forward = self._forward

    def release(self) -> None:
        self._layer.__dict__.pop("forward", None)

    def forward(self, input_NI: Tensor) -> Tensor:
        output = _MergedLinear.apply(  # type: ignore[no-untyped-call]
            input_NI, self._a_RI, self._b_OR, self.merged_OI, self._bias_O, self._scale
        )
        return cast("Tensor", output)


class _MergedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input_NI: Tensor, a_RI: Tensor, b_OR: Tensor, merged_OI: Tensor, bias_O: Any, scale: float
    ) -> Tensor:
        ctx.save_for_backward(input_NI, a_RI, b_OR, merged_OI)
        ctx.scale = scale
        return nn.functional.linear(input_NI, merged_OI, bias_O)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Any:
        input_NI, a_RI, b_OR, merged_OI = ctx.saved_tensors
        inner = outer @ merged_OI if ctx.needs_input_grad[0] else None
        outer_NO, input_NI = outer.flatten(0, -2), input_NI.flatten(0, -2)
        b_gradient = outer_NO.t() @ (input_NI @ a_RI.t() * ctx.scale)
        a_gradient = (outer_NO @ b_OR * ctx.scale).t() @ input_NI
        return inner, a_gradient, b_gradient, None, None, None
