"""MixSD: mixed contextual self-distillation for knowledge injection (arXiv:2605.16865).

A language model writes its own fine-tuning targets. At every token the text is continued from
one of two conditionals of the same frozen model over one shared prefix: `expert`, whose prompt
shows the answer, and `naive`, whose prompt does not; `lam` is the chance of a naive token (0 is
pure expert, 1 pure naive). Texts that state the answer become the targets of plain NLL
training, here of a LoRA adapter.

This package is the library: no HTTP, no SQL, no queue. Importing it does not load torch.

Axes, as suffixes of names of tensors: B rows of a batch, T tokens, V vocabulary, D width.
Losses are nats per token unless a name says otherwise.
"""

from typing import Final

__version__: Final = "0.1.0"

LAW_VERSION: Final = 2
"""Rises when the same settings would give other supervision: part of every digest of it."""
