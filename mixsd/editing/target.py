"""What the last edited layer should put out at each fact's lookup token, so that its answer follows.

MEMIT (arXiv:2210.07229, section 4.2): a vector is added there, and found by gradient descent on
the NLL of the target, beside a KL that holds what follows the lookup token, and a decay. The KL is
taken at the lookup token of the naive prompt itself, where the authors' code takes it behind an
extra text, "<subject> is a": so it costs no pass, and is there without a subject as well.

Axes: B facts of a batch, N of all, T tokens of a row, J places that are scored, D width, V words.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mixsd.config import MemitConfig
from mixsd.decoding.rows import LanguageModel, wide
from mixsd.decoding.suited import longest_text
from mixsd.editing.layers import EditedLayer, batches_of, blocks_to, padded, standing_in, watched
from mixsd.errors import DivergedError, OutOfMemoryError
from mixsd.models.load import Base
from mixsd.training.batches import Example
from mixsd.training.memory import ran_out

ENOUGH: Final = 0.05
"""Loss at which a fact's vector is left as it is, as in the authors' code."""
_TOGETHER: Final = 32
_TOKENS: Final = 1536
"""Facts, and tokens of them, whose vectors are sought side by side."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A prompt with the target that is to follow it, and the place of its lookup token."""

    example: Example
    place: int


@dataclass(frozen=True, slots=True)
class Sought:
    """What was found.

    Attributes:
        hidden_ND: What the layer is to put out at the lookup tokens, in float32.
        losses: NLL of the targets, nats per token, a mean over the facts, at each step.
    """

    hidden_ND: Tensor
    losses: tuple[float, ...]


def in_batches(base: Base, edits: Sequence[Edit]) -> list[list[int]]:
    """Return which edits are computed side by side."""
    lengths = [len(edit.example.read) for edit in edits]
    return batches_of(lengths, most=_TOGETHER, tokens=_TOKENS, alone=longest_text(base.model))


def seek(
    base: Base,
    edits: Sequence[Edit],
    layer: EditedLayer,
    config: MemitConfig,
    *,
    on_step: Callable[[float], None] = lambda _: None,
) -> Sought:
    """Find the vectors, many facts side by side: what one gets does not depend on the others.

    Args:
        base: The base model, without an adapter on it. Its weights stay as they are.
        edits: What is to be answered.
        layer: The last one that is edited.
        config: How long, how fast and how far.
        on_step: Told of each step of a batch, with its loss, before the next pass. May raise.

    Raises:
        DivergedError: A loss is no longer finite.
        OutOfMemoryError: Not even one fact fits into memory.
    """
    hidden: dict[int, Tensor] = {}
    curves: list[list[Tensor]] = []
    waiting = in_batches(base, edits)
    while waiting:
        batch = waiting.pop(0)
        try:
            found_BD, curve = _seek(base, [edits[place] for place in batch], layer, config, on_step)
        except Exception as error:
            if not ran_out(error):
                raise
            if len(batch) == 1:
                raise OutOfMemoryError("not even one fact fits into memory to be edited") from error
            middle = len(batch) // 2
            waiting = [batch[:middle], batch[middle:], *waiting]
            continue
        hidden.update(zip(batch, found_BD, strict=True))
        curves.append(curve)
    return Sought(torch.stack([hidden[place] for place in range(len(edits))]), _joined(curves))


def _joined(curves: Sequence[Sequence[Tensor]]) -> tuple[float, ...]:
    """Return the mean over all facts at each step; a batch that ended early stays where it was."""
    steps = max(map(len, curves))
    means = (
        torch.cat([curve[min(step, len(curve) - 1)] for curve in curves]).mean() for step in range(steps)
    )
    return tuple(float(mean) for mean in means)


def _seek(
    base: Base,
    edits: Sequence[Edit],
    layer: EditedLayer,
    config: MemitConfig,
    on_step: Callable[[float], None],
) -> tuple[Tensor, list[Tensor]]:
    """Return what the layer is to put out, [B, D], and the NLL of each target at each step."""
    rows = Rows(base, edits)
    outputs_BTD, first_BV = rows.untouched(layer)
    hidden_BD = rows.looked_up(outputs_BTD).float()
    norms_B = hidden_BD.norm(dim=1)
    vectors_BD = torch.zeros_like(hidden_BD, requires_grad=True)
    optimizer = torch.optim.Adam([vectors_BD], lr=config.v_lr)
    sought_B = torch.ones(len(edits), dtype=torch.bool, device=hidden_BD.device)
    nll_B = torch.zeros(len(edits), device=hidden_BD.device)
    curve: list[Tensor] = []
    for step in range(config.v_steps):
        places = sought_B.nonzero()[:, 0]
        part = rows if len(places) == len(edits) else Rows(base, [edits[i] for i in places.tolist()])
        chosen_BD = vectors_BD[places]
        said = part.scored_from(layer, outputs_BTD[places, : part.width], chosen_BD)
        spread_B = (said.looked_BV.exp() * (said.looked_BV - first_BV[places])).sum(-1)
        decay_B = chosen_BD.norm(dim=1) / norms_B[places] ** 2
        loss_B = said.nll_B + config.kl_weight * spread_B + config.v_weight_decay * decay_B
        total = float(loss_B.detach().sum())
        if not math.isfinite(total):
            raise DivergedError(f"at step {step + 1} the loss of a target vector is {total}: lower v_lr")
        nll_B[places] = said.nll_B.detach()
        curve.append(nll_B.clone())
        on_step(float(nll_B.mean()))
        sought_B[places] = loss_B.detach() >= ENOUGH
        if step == config.v_steps - 1 or not sought_B.any():
            break
        vectors_BD.grad = torch.autograd.grad(loss_B.sum(), vectors_BD)[0]
        before_BD = vectors_BD.detach().clone()
        optimizer.step()
        with torch.no_grad():
            limits_B1 = (config.clamp * norms_B / vectors_BD.norm(dim=1).clamp(min=1e-12)).clamp(max=1)[
                :, None
            ]
            vectors_BD.copy_(torch.where(sought_B[:, None], vectors_BD * limits_B1, before_BD))
    return hidden_BD + vectors_BD.detach(), curve


@dataclass(frozen=True, slots=True)
class Said:
    """Scores of a pass: NLL of each target, and log-probabilities of what follows the lookup token."""

    nll_B: Tensor
    looked_BV: Tensor


class Rows:
    """Edits side by side, a row each."""

    def __init__(self, base: Base, edits: Sequence[Edit]) -> None:
        self._model = base.model
        device = base.model.device
        self._ids_BT = padded([edit.example.read for edit in edits], base.chat.pad_id, device)
        self.places_B = torch.tensor([edit.place for edit in edits], device=device)
        self.width = width = self._ids_BT.shape[1]
        judging = [row * width + place for row, edit in enumerate(edits) for place in edit.example.judges]
        looking = [row * width + edit.place for row, edit in enumerate(edits)]
        kept = sorted({*judging, *looking})
        number = {place: j for j, place in enumerate(kept)}
        self._kept_BT = torch.zeros_like(self._ids_BT, dtype=torch.bool)
        self._kept_BT.view(-1)[torch.tensor(kept, device=device)] = True
        self._judging_M = torch.tensor([number[place] for place in judging], device=device)
        self._looking_B = torch.tensor([number[place] for place in looking], device=device)
        targets = [edit.example.target for edit in edits]
        self._targets_M = torch.tensor([token for target in targets for token in target], device=device)
        owners = [row for row, target in enumerate(targets) for _ in target]
        self._owners_M = torch.tensor(owners, device=device)
        self._shares_M = torch.tensor([1 / len(targets[row]) for row in owners], device=device)

    @torch.no_grad()
    def untouched(self, layer: EditedLayer) -> tuple[Tensor, Tensor]:
        """Return what a layer puts out, [B, T, D], and what follows the lookup tokens, [B, V]."""
        seen: list[Tensor] = []
        with watched(self._model.get_submodule(layer.block), lambda _, output: seen.append(output)):
            said = self.scores(self._model)
        return seen[0], said.looked_BV

    def looked_up(self, outputs_BTD: Tensor) -> Tensor:
        """Return what stands at the lookup tokens, [B, D]."""
        return outputs_BTD[torch.arange(len(self.places_B)), self.places_B]

    def scored_from(self, layer: EditedLayer, outputs_BTD: Tensor, vectors_BD: Tensor) -> Said:
        """Score the targets with a vector added to what a layer puts out at each lookup token."""
        rows_B = torch.arange(len(self.places_B), device=outputs_BTD.device)
        at = (rows_B, self.places_B)
        changed_BTD = outputs_BTD.index_put(at, vectors_BD.to(outputs_BTD), accumulate=True)
        with standing_in(blocks_to(self._model, layer), changed_BTD):
            return self.scores(self._model)

    def scores(self, model: LanguageModel) -> Said:
        """Score the targets as a model is."""
        logits_JV = wide(
            model(input_ids=self._ids_BT, use_cache=False, logits_to_keep=self._kept_BT).logits
        ).flatten(0, -2)
        losses_M = nn.functional.cross_entropy(logits_JV[self._judging_M], self._targets_M, reduction="none")
        nll_B = losses_M.new_zeros(len(self.places_B))
        nll_B = nll_B.index_add(0, self._owners_M, losses_M * self._shares_M.to(losses_M))
        return Said(nll_B, logits_JV[self._looking_B].log_softmax(-1))
