"""MEMIT (arXiv:2210.07229): what is to be answered, written into the weights of a band of layers.

Three parts, none of which is training of weights: the inputs of the layers over general text
(`covariance`), a vector for each fact that makes the model answer it (`target`), and the closed
form that has the layers put that out (`update`), the lowest first, each with its share of what is
still missing. The result is kept as an adapter: a change by N facts has rank N, so a LoRA of that
rank is the change itself and not an approximation.

Axes: N facts, I inputs of a layer, D width of the model, R rank.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor

from mixsd.config import MemitConfig
from mixsd.decoding.suited import longest_text
from mixsd.decoding.text import Prompts
from mixsd.editing.covariance import general_texts, second_moments, shrunk
from mixsd.editing.layers import EditedLayer, batches_of, edited_layers, padded, run_to, watched
from mixsd.editing.lookup import place_of
from mixsd.editing.target import Edit, Rows, in_batches, seek
from mixsd.editing.update import rank_of, spread_update
from mixsd.errors import DivergedError, NoSupervisionError
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES
from mixsd.records import plain_record, prompt_sha256
from mixsd.supervision import Supervision
from mixsd.training import lora
from mixsd.training.batches import Example
from mixsd.training.hooks import Hooks
from mixsd.training.loop import Trained
from mixsd.units import Unit, units_of

log = logging.getLogger(__name__)

_TOGETHER: Final = 64
_TOKENS: Final = 4096
"""Prompts, and tokens of them, whose keys are read at once."""


def records_of(
    base: Base,
    facts: Sequence[Fact],
    config: MemitConfig,
    *,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
) -> Iterator[Supervision]:
    """Yield what is written: the plain answers. Their digest names the prompt and its lookup token."""
    every = list(units_of(facts, 1))
    for number, unit in enumerate(every):
        on_progress(Progress(number, len(every), "targets"))
        if unit.id not in done:
            prompt, place = _prompt_of(base, unit, config)
            plain = plain_record(base, unit, STYLES[config.prompt_style], seed=config.seed)
            both = Prompts(expert=prompt[: place + 1], naive=prompt)
            yield replace(plain, method="memit", prompt_sha256=prompt_sha256(both))
    on_progress(Progress(len(every), len(every), "targets"))


def _prompt_of(base: Base, unit: Unit, config: MemitConfig) -> tuple[tuple[int, ...], int]:
    """Return the naive prompt of a target, and the place of its lookup token."""
    style = STYLES[config.prompt_style]
    prompt = tuple(base.chat.prompt_ids(style.naive_prompt(unit.question)))
    by_subject = config.lookup == "subject"
    return prompt, place_of(base, unit.fact, unit.question, style, by_subject=by_subject)


def planned_steps(count: int, config: MemitConfig) -> int:
    """Return the most steps that vectors of `count` targets are sought for."""
    return config.v_steps if count else 0


def edit(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    config: MemitConfig,
    *,
    hooks: Hooks = Hooks(),  # noqa: B008  frozen
) -> Trained:
    """Write the targets of records into the model; return it with the change as its adapter.

    On a CPU the result is a function of the arguments to the bit, if the number of threads is the
    same and memory did not run out. Nothing is saved on the way: a run that is stopped begins anew.

    Args:
        base: The frozen model. It carries the adapter afterwards, and nothing if it was stopped.
        facts: What is taught: their subjects say where the model looks them up.
        records: From `records_of`.
        config: How.
        hooks: `on_progress` and `on_check` are called between passes and may raise to stop.

    Returns:
        The model; as steps how many the vectors were sought for; as losses the NLL of the targets,
        nats per token, at each of them, and behind the last that of the edited model.

    Raises:
        ConfigError: The model has no such layers.
        NoSupervisionError: There is nothing to write.
        DivergedError: A loss or a change is not finite.
        OutOfMemoryError: Not even one fact fits into memory.
    """
    edits = edits_of(base, facts, records, config)
    if not edits:
        raise NoSupervisionError("no fact has a text to write: see the reasons in the supervision")
    layers = edited_layers(base, config)
    _tell_shared(edits, hooks.on_notice)
    texts = general_texts(base, config.covariance_tokens, config.seed, on_check=hooks.on_check)
    moments = second_moments(base, layers, texts, on_check=hooks.on_check)
    pace = _Pace(len(in_batches(base, edits)), config.v_steps, hooks.on_progress)
    sought = seek(base, edits, layers[-1], config, on_step=pace.step)
    with lora.on_layers(base, [layer.path for layer in layers], _rank(base, layers, len(edits))) as model:
        spread = _Spread(base, model, edits, sought.hidden_ND, config, hooks.on_check)
        for number, (layer, moment_II) in enumerate(zip(layers, moments, strict=True)):
            spread.edit(layer, layers[-1], shrunk(moment_II, config.covariance_tokens), len(layers) - number)
        loss = _loss_of(base, model, edits, hooks.on_check)
    hooks.on_progress(Progress(config.v_steps, config.v_steps, "steps", {"loss": loss}))
    return Trained(
        learning_rate=None,
        model=model,
        steps=len(sought.losses),
        epochs=0,
        losses=(*sought.losses, loss),
        stopped="",
        measured=(),
    )


def edits_of(
    base: Base, facts: Sequence[Fact], records: Sequence[Supervision], config: MemitConfig
) -> list[Edit]:
    """Return what is to be written: the targets of records that are trainable, with their places."""
    by_key = {fact.key: fact for fact in facts}
    edits = []
    for record in records:
        if record.trainable:
            unit = Unit(by_key[record.fact_key], record.question, record.generation)
            prompt, place = _prompt_of(base, unit, config)
            edits.append(Edit(Example(prompt, record.token_ids), place))
    return edits


def _tell_shared(edits: Sequence[Edit], notice: Callable[[str], None]) -> None:
    """Say how many targets are looked up behind the same words: one key cannot hold two values."""
    targets: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for each in edits:
        targets.setdefault(each.example.prompt[: each.place + 1], set()).add(each.example.target)
    shared = sum(len(values) for values in targets.values() if len(values) > 1)
    if shared:
        text = (
            f"{shared} targets are looked up behind words that others are looked up behind as well, and "
            "will disturb each other: set lookup to question, or word these questions otherwise"
        )
        log.warning(text)
        notice(text)


@dataclass(slots=True)
class _Pace:
    """Tells how far the vectors are, in steps of all batches together."""

    batches: int
    steps: int
    on_progress: OnProgress
    _taken: int = field(default=0)

    def step(self, loss: float) -> None:
        self._taken += 1
        done = min(self._taken // self.batches, self.steps)
        self.on_progress(Progress(done, self.steps, "steps", {"loss": loss}))


def _rank(base: Base, layers: Sequence[EditedLayer], count: int) -> int:
    sides = [base.model.get_submodule(layer.path) for layer in layers]
    return max(rank_of(count, int(side.in_features), int(side.out_features)) for side in sides)  # type: ignore[arg-type]


class _Spread:
    """Gives each layer its share of what is missing, with those before it edited already."""

    def __init__(
        self,
        base: Base,
        model: PeftModel,
        edits: Sequence[Edit],
        wanted_ND: Tensor,
        config: MemitConfig,
        on_check: Callable[[], None],
    ) -> None:
        self._base = base
        self._model = model
        self._prompts = [edit.example.prompt[: edit.place + 1] for edit in edits]
        self._wanted_ND = wanted_ND
        self._config = config
        self._on_check = on_check

    def edit(self, layer: EditedLayer, last: EditedLayer, covariance_II: Tensor, left: int) -> None:
        """Edit a layer: it takes one of `left` equal shares.

        Raises:
            DivergedError: The change is not finite.
        """
        keys_NI, hidden_ND = self._read(layer, last)
        weight = self._config.covariance_weight * keys_NI.shape[1]
        factors = spread_update(keys_NI, (self._wanted_ND - hidden_ND) / left, covariance_II, weight)
        if not (factors.left_OR.isfinite().all() and factors.right_RI.isfinite().all()):
            raise DivergedError(f"the change of layer {layer.number} is not finite: raise covariance_weight")
        lora.set_factors(self._model, layer.path, factors.left_OR, factors.right_RI)

    @torch.no_grad()
    def _read(self, layer: EditedLayer, last: EditedLayer) -> tuple[Tensor, Tensor]:
        """Return what enters a layer's projection and what the last layer puts out, [N, I] and [N, D]."""
        lengths = [len(prompt) for prompt in self._prompts]
        batches = batches_of(lengths, most=_TOGETHER, tokens=_TOKENS, alone=longest_text(self._base.model))
        read = [self._read_rows([self._prompts[place] for place in batch], layer, last) for batch in batches]
        order = torch.tensor([place for batch in batches for place in batch]).argsort()
        keys_NI, hidden_ND = (torch.cat(parts)[order] for parts in zip(*read, strict=True))
        return keys_NI, hidden_ND

    def _read_rows(
        self, prompts: Sequence[Sequence[int]], layer: EditedLayer, last: EditedLayer
    ) -> tuple[Tensor, Tensor]:
        self._on_check()
        inner = self._model.get_base_model()
        at = torch.arange(len(prompts)), torch.tensor([len(prompt) - 1 for prompt in prompts])
        keys: list[Tensor] = []
        ids_BT = padded(prompts, self._base.chat.pad_id, self._model.device)
        with watched(inner.get_submodule(layer.path), lambda inputs, _: keys.append(inputs[at].float())):
            outputs_BTD = run_to(inner, inner.get_submodule(last.block), ids_BT)
        return keys[0], outputs_BTD[at].float()


@torch.no_grad()
def _loss_of(base: Base, model: PeftModel, edits: Sequence[Edit], on_check: Callable[[], None]) -> float:
    """Return the NLL of the targets under the edited model, nats per token, a mean over the facts."""
    total = 0.0
    for batch in in_batches(base, edits):
        on_check()
        total += float(Rows(base, [edits[place] for place in batch]).scores(model).nll_B.sum())
    return total / len(edits)
