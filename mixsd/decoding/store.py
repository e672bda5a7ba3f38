"""Keys and values of rows, left-aligned, without padding within a row.

Row r holds positions 0 to its length - 1; what stands behind that is left over from an earlier
text, is never looked at, and is written over. So a text is cut back by forgetting its length, and
a prompt that two rows begin with is copied, not computed.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mixsd.decoding.attention import Layout


class Store:
    """A buffer for each layer, [R, S, K, D], and the last hidden states, [R, S, width].

    Buffers are made when a layer is first written, with the shape of what it gives.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.capacity = 0
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.hidden_RSD: Tensor | None = None

    def reserve(self, positions: int) -> None:
        """Make room for rows of this length. Grows in steps; keeps what is stored."""
        if positions <= self.capacity:
            return
        self.capacity = -(-max(positions, self.capacity * 5 // 4) // 64) * 64
        self.layers = {
            layer: (self._grown(keys), self._grown(values)) for layer, (keys, values) in self.layers.items()
        }
        if self.hidden_RSD is not None:
            self.hidden_RSD = self._grown(self.hidden_RSD)

    def write(
        self, layer: int, key_KND: Tensor, value_KND: Tensor, layout: "Layout"
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of a forward pass; return the buffers of the layer."""
        if layer not in self.layers:
            self.layers[layer] = (self._empty(key_KND), self._empty(value_KND))
        keys, values = self.layers[layer]
        keys[layout.rows, layout.positions] = key_KND.transpose(0, 1)[layout.sources]
        values[layout.rows, layout.positions] = value_KND.transpose(0, 1)[layout.sources]
        return keys, values

    def write_hidden(self, hidden_ND: Tensor, layout: "Layout") -> None:
        """Store the last hidden states of a forward pass."""
        if self.hidden_RSD is None:
            self.hidden_RSD = hidden_ND.new_zeros(self.rows, self.capacity, hidden_ND.shape[-1])
        self.hidden_RSD[layout.rows, layout.positions] = hidden_ND[layout.sources]

    def copy(self, source: int, target: int, start: int, stop: int) -> None:
        """Copy positions `start` to `stop` - 1 of a row to another."""
        for buffer in self._buffers():
            buffer[target, start:stop] = buffer[source, start:stop]

    def _buffers(self) -> list[Tensor]:
        both = [buffer for pair in self.layers.values() for buffer in pair]
        return both if self.hidden_RSD is None else [*both, self.hidden_RSD]

    def _empty(self, sample_KND: Tensor) -> Tensor:
        heads, _, width = sample_KND.shape
        # Zeros: what was never written is masked, but a NaN would pass through a weight of zero.
        return sample_KND.new_zeros(self.rows, self.capacity, heads, width)

    def _grown(self, buffer: Tensor) -> Tensor:
        grown = buffer.new_zeros(self.rows, self.capacity, *buffer.shape[2:])
        grown[:, : buffer.shape[1]] = buffer
        return grown


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device that a model computes on."""
    return next(model.parameters()).device
