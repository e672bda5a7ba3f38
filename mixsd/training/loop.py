"""The training loop, top to bottom."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel

from mixsd.config import TrainConfig
from mixsd.decoding.rows import shared_prefix
from mixsd.errors import CorruptError, DivergedError, NoSupervisionError, OutOfMemoryError
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, StopRequested, silent
from mixsd.training import checkpoint, lora
from mixsd.training.batches import Example, lay_out, order_of
from mixsd.training.checkpoint import Cursor, Saved
from mixsd.training.loss import logits_of, summed_loss
from mixsd.training.schedule import learning_rate

log = logging.getLogger(__name__)

Source = Callable[[PeftModel, int, Sequence[int]], Sequence[Example]]
"""Makes the examples of a step, counted from 0, from the indices of the examples it would have.

Asked before every optimizer step. What it returns is a function of its arguments, so that a run
that is resumed repeats it.
"""

LEARNED_LOSS: Final = 1.0
"""Mean loss of an epoch, nats per token, below which it is worth asking what was learned."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run. `losses` holds the mean loss of each step, nats per token."""

    model: PeftModel
    steps: int
    epochs: int
    losses: tuple[float, ...]
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a run tells its caller, and asks of it.

    Attributes:
        learned: Says whether the model has learned enough to stop; asked between epochs. May raise.
        on_progress: Called after every step. May raise to stop.
        on_check: Called while it is asked what was learned, before every forward pass. May raise.
        on_checkpoint: Called with each checkpoint, once it is on disk.
    """

    learned: Callable[[PeftModel], bool] | None = None
    on_progress: OnProgress = silent
    on_check: Callable[[], None] = lambda: None
    on_checkpoint: Callable[[Saved], None] = lambda _: None


def train_adapter(
    base: Base,
    examples: Sequence[Example],
    config: TrainConfig,
    *,
    work: Path,
    input_sha256: str,
    resume: Sequence[Path] = (),
    hooks: Hooks = Hooks(),
    source: Source | None = None,
) -> Trained:
    """Train a LoRA adapter by the mean loss of the target tokens.

    The result on a CPU is a function of the arguments, to the bit, however often the run was
    stopped and resumed, if the number of threads is the same.

    Args:
        base: The frozen model; it carries the adapter afterwards.
        examples: What to train on.
        config: How.
        work: Folder for checkpoints, `checkpoint-<step>`.
        input_sha256: Digest of examples and settings.
        resume: Checkpoints to go on from, the best first; damaged ones are passed over.
        hooks: Callbacks.
        source: Makes the examples of each step anew. `examples` then only say how many there are.

    Raises:
        NoSupervisionError: There is nothing to train on.
        DivergedError: The loss is no longer finite. The last checkpoint is from before.
        OutOfMemoryError: A micro-batch does not fit into memory.
    """
    if not examples:
        raise NoSupervisionError("no fact has a text to train on: see the reasons in the supervision")
    model = lora.attach(base, config.lora, seed=config.seed)
    with lora.seeded(config.seed):
        run = _Run(base, model, examples, config, work, input_sha256, hooks, source)
        run.resume(resume)
        return run.train()


def planned_steps(count: int, config: TrainConfig) -> int:
    """Return how many steps a run over `count` examples takes, if it does not end early."""
    planned = config.epochs * math.ceil(count / config.batch_size)
    return min(planned, config.max_steps) if config.max_steps else planned


class _Run:
    def __init__(
        self,
        base: Base,
        model: PeftModel,
        examples: Sequence[Example],
        config: TrainConfig,
        work: Path,
        input_sha256: str,
        hooks: Hooks,
        source: Source | None,
    ) -> None:
        self._base = base
        self._source = source
        self._model = model
        self._examples = examples
        self._config = config
        self._work = work
        self._input = input_sha256
        self._hooks = hooks
        self._trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trainable, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._per_epoch = math.ceil(len(examples) / config.batch_size)
        self._total = planned_steps(len(examples), config)
        self._cursor = Cursor()
        self._saved_at = time.monotonic()
        self._saved_step = 0

    def resume(self, folders: Sequence[Path]) -> None:
        """Go on from the first checkpoint that is whole and belongs to this run."""
        for folder in folders:
            try:
                self._cursor = checkpoint.restore(
                    folder, self._model, self._optimizer, input_sha256=self._input
                )
            except CorruptError as error:
                log.warning("checkpoint passed over: %s", error)
            else:
                self._saved_step = self._cursor.step
                return

    def train(self) -> Trained:
        """Train to the end. If a callback asks to stop, what was done is saved first."""
        cursor = self._cursor
        try:
            stopped_early = self._loop()
        except StopRequested as stop:
            if stop.may_save and cursor.step > self._saved_step:
                self._save()
            raise
        if cursor.step > self._saved_step:
            self._save()
        return Trained(
            model=self._model,
            steps=cursor.step,
            epochs=cursor.epoch + (cursor.batch > 0),
            losses=tuple(cursor.losses),
            stopped_early=stopped_early,
        )

    def _loop(self) -> bool:
        """Take the steps that are left. Returns whether it ended early, with everything learned."""
        cursor = self._cursor
        self._report()
        while cursor.step < self._total:
            if cursor.batch == 0 and cursor.epoch > 0 and self._has_learned():
                return True
            order = order_of(len(self._examples), seed=self._config.seed, epoch=cursor.epoch)
            start = cursor.batch * self._config.batch_size
            self._step(self._examples_at(order[start : start + self._config.batch_size]))
            self._advance()
            self._checkpoint_if_due()
            self._report()
        return False

    def _examples_at(self, places: Sequence[int]) -> Sequence[Example]:
        if self._source is None:
            return [self._examples[place] for place in places]
        return self._source(self._model, self._cursor.step, places)

    def _has_learned(self) -> bool:
        """Ask, if the last epoch's loss makes it likely."""
        loss = self._cursor.last_epoch_loss
        if not self._config.stop_when_learned or self._hooks.learned is None:
            return False
        if loss is None or loss > LEARNED_LOSS:
            return False
        self._model.eval()
        return self._hooks.learned(self._model)

    def _step(self, chosen: Sequence[Example]) -> None:
        """Take one optimizer step on the mean loss over all target tokens of the batch."""
        cursor, config = self._cursor, self._config
        self._model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(cursor.step, self._total, config)
        self._optimizer.zero_grad(set_to_none=True)
        tokens = sum(example.weight * len(example.target) for example in chosen)
        size = config.micro_batch or len(chosen)
        nll = 0.0
        for start in range(0, len(chosen), size):
            nll += self._backward(chosen[start : start + size], tokens)
        if not math.isfinite(nll):
            raise DivergedError(
                f"the loss at step {cursor.step + 1} is {nll}: lower learning_rate "
                f"(it is {config.learning_rate}) or set clip"
            )
        if config.clip:
            torch.nn.utils.clip_grad_norm_(self._trainable, config.clip)
        self._optimizer.step()
        cursor.losses.append(nll / tokens)
        cursor.epoch_nll += nll
        cursor.epoch_tokens += tokens

    def _backward(self, chosen: Sequence[Example], tokens: float) -> float:
        """Add the gradient of these examples' share of the mean loss; return their summed loss."""
        # With dropout every row needs a draw of its own, so nothing may be shared.
        dropped = self._config.lora.dropout > 0
        shared = 0 if dropped else shared_prefix(self._model, [example.prompt for example in chosen])
        batch = lay_out(chosen, pad_id=self._base.chat.pad_id, device=self._base.model.device, shared=shared)
        try:
            nll = summed_loss(logits_of(self._model, batch), batch)
            (nll / tokens).backward()  # type: ignore[no-untyped-call]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                shape = "x".join(map(str, batch.ids_BT.shape))
                raise OutOfMemoryError(
                    f"a micro-batch of {shape} tokens does not fit into memory: lower micro_batch"
                ) from error
            raise
        return float(nll.detach())

    def _advance(self) -> None:
        cursor = self._cursor
        cursor.step += 1
        cursor.batch += 1
        if cursor.batch == self._per_epoch:
            cursor.epoch += 1
            cursor.batch = 0
            cursor.last_epoch_loss = cursor.epoch_nll / cursor.epoch_tokens
            cursor.epoch_nll, cursor.epoch_tokens = 0.0, 0

    def _checkpoint_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self._config.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        saved = checkpoint.save(
            self._work / f"checkpoint-{self._cursor.step}",
            self._model,
            self._optimizer,
            self._cursor,
            input_sha256=self._input,
        )
        self._saved_at, self._saved_step = time.monotonic(), self._cursor.step
        self._hooks.on_checkpoint(saved)

    def _report(self) -> None:
        losses = self._cursor.losses
        metrics = {"loss": losses[-1]} if losses else {}
        self._hooks.on_progress(Progress(self._cursor.step, self._total, "steps", metrics))
