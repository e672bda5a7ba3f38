"""The training loop, top to bottom."""

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor

from mixsd.config import TrainConfig
from mixsd.errors import CorruptError, DivergedError, NoSupervisionError
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested
from mixsd.training import checkpoint, lora
from mixsd.training.batches import Example, order_of, weight_of
from mixsd.training.checkpoint import Cursor
from mixsd.training.compute import check_device, compiled_layers, in_four_bits
from mixsd.training.hooks import Hooks
from mixsd.training.kept import Kept
from mixsd.training.meter import Meter
from mixsd.training.schedule import end_of_cooldown, learning_rate, planned_steps, rated
from mixsd.training.sharded import Shards, sharded
from mixsd.training.source import Source
from mixsd.training.start import gradients_for
from mixsd.training.step import Gradients
from mixsd.training.world import World

log = logging.getLogger(__name__)

LEARNED_LOSS: Final = 1.0
"""Mean loss of an epoch, nats per token, below which it is worth asking what was learned."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        learning_rate: Peak of the schedule, also where the settings left it open. None of an edit.
        losses: The mean loss of each step, nats per token.
        stopped: Why it ended early: `learned` if every question was answered, `patience` if nothing
            became better; empty if it did not.
        measured: The steps after which it was measured what the model knows, each with the recall.
    """

    model: PeftModel
    learning_rate: float | None
    steps: int
    epochs: int
    losses: tuple[float, ...]
    stopped: str
    measured: tuple[tuple[int, float], ...]

    @property
    def stopped_early(self) -> bool:
        return bool(self.stopped)


def train_adapter(
    base: Base,
    examples: Sequence[Example],
    config: TrainConfig,
    *,
    work: Path,
    input_sha256: str,
    resume: Sequence[Path] = (),
    hooks: Hooks = Hooks(),  # noqa: B008  frozen
    source: Source | None = None,
    start: Path | None = None,
) -> Trained:
    """Train a LoRA adapter by the mean loss of the target tokens.

    The result on a CPU is a function of the arguments, to the bit, however often the run was
    stopped and resumed, if the number of threads is the same and memory did not run out.

    Within a process group of torch, each process takes its share of every batch, see
    `mixsd.training.world`: all must be called alike, and all get the same adapter. With
    `config.shard` the first process alone has the base's weights afterwards, and `source` must not
    compute the model.

    Args:
        base: The frozen model; it carries the adapter afterwards.
        examples: What to train on.
        config: How.
        work: Folder for checkpoints, `checkpoint-<step>`: the last two and the best are kept.
        input_sha256: Digest of examples and settings.
        resume: Checkpoints to go on from, the best first; damaged ones are passed over.
        hooks: Callbacks.
        source: Makes the examples of each step anew. `examples` then only say how many there are.
        start: Folder of an adapter whose weights come first, instead of fresh ones.

    Raises:
        ConfigError: The device or the model cannot do what is asked for.
        NoSupervisionError: There is nothing to train on.
        DivergedError: The loss is no longer finite. The last checkpoint is from before.
        OutOfMemoryError: Not even one example fits into memory.
    """
    if not examples:
        raise NoSupervisionError("no fact has a text to train on: see the reasons in the supervision")
    config = rated(config, base.model.config.get_text_config().hidden_size, fresh=start is None)
    world = World()
    check_device(base.model.device if config.shard == "none" else world.device, config)
    with ExitStack() as stack:
        if config.quantize != "none":
            stack.enter_context(in_four_bits(base.model))
        model = lora.attach(base, config.lora, seed=config.seed, start=start)
        if config.compile_layers:
            stack.enter_context(compiled_layers(model))
        shards = None
        if config.shard != "none":
            shards = stack.enter_context(sharded(model, world, on_check=hooks.on_check))
        stack.enter_context(lora.seeded(config.seed + world.rank))  # each drops out by itself
        run = _Run(base, model, examples, config, work, input_sha256, hooks, source, world, shards)
        run.resume(resume)
        return run.train()


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
        world: World,
        shards: Shards | None,
    ) -> None:
        self._base = base
        self._model = model
        self._examples = examples
        self._config = config
        self._work = work
        self._input = input_sha256
        self._hooks = hooks
        self._source = source
        self._world = world
        self._shards = shards
        self._trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trainable,
            lr=learning_rate(0, 1, config),
            weight_decay=config.weight_decay,
            fused=model.device.type in {"cpu", "cuda"},
        )
        self._per_epoch = math.ceil(len(examples) / config.batch_size)
        self._total = planned_steps(len(examples), config)
        self._cursor = Cursor()
        self._best: dict[str, Tensor] | None = None
        self._gradients: Gradients | None = None
        self._kept = Kept()
        self._meter = Meter(self._total, config)

    def resume(self, folders: Sequence[Path]) -> None:
        """Go on from the first checkpoint that is whole and belongs to this run.

        Raises:
            CorruptError: Not all processes could go on from the same one.
        """
        if self._shards is not None:  # the base may lie elsewhere in each, which may round what was drawn
            self._world.take_from_first(self._trainable)
        self._restore(folders)
        step, size = self._cursor.step, self._world.size
        if self._world.total(step) != step * size:
            raise CorruptError("the processes of the run do not read the same checkpoints: start it again")

    def _restore(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            try:
                restored = checkpoint.restore(folder, self._model, self._optimizer, input_sha256=self._input)
            except CorruptError as error:
                self._notice(f"a checkpoint was passed over: {error}")
            else:
                self._cursor, self._best = restored.cursor, restored.best
                self._kept = Kept([self._cursor.step])
                return

    def train(self) -> Trained:
        """Train to the end. If a callback asks to stop, what was done is saved first."""
        cursor = self._cursor
        if len(self._examples) < self._config.batch_size:
            self._notice(
                f"batch_size is {self._config.batch_size}, and there are {len(self._examples)} texts: "
                "every step takes all of them"
            )
        try:
            stopped = self._loop()
        except StopRequested as stop:
            if self._world.first and stop.may_save and cursor.step > self._kept.newest:
                self._write()
            raise
        if cursor.step > self._kept.newest:
            self._save()
        if stopped == "patience" and self._best is not None and cursor.best is not None:
            lora.set_weights(self._model, self._best)
            self._notice(
                f"recall did not rise in {self._config.patience} measurements: the adapter is that of step "
                f"{cursor.best[0]}, with a recall of {cursor.best[1]:.2f}"
            )
        return Trained(
            model=self._model,
            learning_rate=self._config.learning_rate,
            steps=cursor.step,
            epochs=cursor.epoch + (cursor.batch > 0),
            losses=tuple(cursor.losses),
            stopped=stopped,
            measured=tuple(cursor.measured),
        )

    @property
    def _last(self) -> int:
        """The step after which it ends, as far as that is known."""
        learned_at = self._cursor.learned_at
        return end_of_cooldown(learned_at, self._total, self._config) if learned_at else self._total

    def _loop(self) -> str:
        """Take the steps that are left. Returns why it ended early, nothing if it did not."""
        cursor = self._cursor
        self._measure_if_due()
        self._world.ask_first(self._tell)
        while cursor.step < self._total:
            if reason := self._reason_to_stop():
                return reason
            order = order_of(len(self._examples), seed=self._config.seed, epoch=cursor.epoch)
            start = cursor.batch * self._config.batch_size
            places = order[start : start + self._config.batch_size]
            self._meter.start()
            self._step(self._chosen(self._world.share_of(places)))
            self._advance()
            self._measure_if_due()
            self._save_if_due()
            self._world.ask_first(self._tell)
        return ""

    def _chosen(self, places: Sequence[int]) -> Sequence[Example]:
        if self._source is None:
            return [self._examples[place] for place in places]
        self._model.eval()
        made = self._source(self._model, self._cursor.step, places)
        if places and not made:
            raise NoSupervisionError(f"nothing was written to train on at step {self._cursor.step + 1}")
        return made

    def _reason_to_stop(self) -> str:
        config, cursor = self._config, self._cursor
        if config.stop_when_learned and cursor.recall is not None and cursor.recall >= 1:
            cursor.learned_at = cursor.learned_at or cursor.step
        if cursor.learned_at:
            return "learned" if cursor.step >= self._last else ""
        return "patience" if 0 < config.patience <= cursor.without_better else ""

    def _measure_if_due(self) -> None:
        """Measure what was learned, if it is time and the step was not measured before a resume."""
        cursor = self._cursor
        if self._hooks.learned is None or cursor.recall is not None or not self._measurement_is_due():
            return
        learned, drift = self._hooks.learned, self._hooks.drift

        def asked() -> float:
            if drift is not None:
                self._meter.drift = (cursor.step, drift(self._model))
            return float(learned(self._model))

        with nullcontext() if self._shards is None else self._shards.whole():
            self._model.eval()
            recall = self._world.ask_first(asked)
        before = cursor.best
        cursor.measured.append((cursor.step, recall))
        if before is None or recall > before[1]:
            weights = lora.weights_of(self._model) if self._config.patience else None
            self._best = weights and {name: tensor.clone() for name, tensor in weights.items()}
            self._kept.due = True

    def _measurement_is_due(self) -> bool:
        config, cursor = self._config, self._cursor
        wanted = config.stop_when_learned or config.patience > 0 or config.eval_every > 0
        if not wanted or not 0 < cursor.step < self._total:
            return False
        if config.eval_every:
            return cursor.step % config.eval_every == 0
        loss = cursor.last_epoch_loss
        return not cursor.learned_at and cursor.batch == 0 and loss is not None and loss <= LEARNED_LOSS

    def _step(self, chosen: Sequence[Example]) -> None:
        """Take one optimizer step on the mean loss over all target tokens of the batch."""
        cursor, config = self._cursor, self._config
        self._model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(cursor.step, self._total, config, learned_at=cursor.learned_at)
        self._optimizer.zero_grad(set_to_none=True)
        weight, tokens = self._world.totals(weight_of(chosen), sum(len(example.read) for example in chosen))
        loss = torch.zeros((), device=self._model.device)
        if chosen or self._shards is not None:  # a layer that is sharded is computed by all or by none
            self._gradients = self._gradients or self._first(chosen)
            loss = self._gradients.add(chosen, weight)
            cursor.room_tokens, cursor.twice = self._gradients.room.tokens, self._gradients.room.twice
        loss = self._world.add_gradients(self._trainable, loss)
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in self._trainable if parameter.grad is not None]
        )
        mean, length = torch.stack([loss.double(), norm.double()]).tolist()
        if not (math.isfinite(mean) and math.isfinite(length)):
            raise DivergedError(self._divergence(mean, length))
        if config.clip:
            torch.nn.utils.clip_grads_with_norm_(self._trainable, config.clip, norm)
        self._optimizer.step()
        cursor.losses.append(mean)
        cursor.epoch_nll += mean * weight
        cursor.epoch_tokens += weight
        self._meter.stop(tokens)

    def _divergence(self, loss: float, norm: float) -> str:
        kept = f"checkpoint-{self._kept.newest}" if self._kept.newest else "none"
        return (
            f"at step {self._cursor.step + 1} the loss is {loss} and the length of its gradient {norm}: "
            f"lower learning_rate (it is {self._config.learning_rate}) or set clip. "
            f"The last good checkpoint: {kept}"
        )

    def _first(self, chosen: Sequence[Example]) -> Gradients:
        """Find the way to compute gradients, by a trial on the first batch."""
        if self._shards is not None:
            chosen = self._world.every([example.on_cpu() for example in chosen])
        return gradients_for(
            self._model,
            chosen,
            self._config,
            self._cursor,
            pad_id=self._base.chat.pad_id,
            longest=max(len(example.read) for example in (*self._examples, *chosen)),
            notice=self._notice,
            shards=self._shards,
        )

    def _advance(self) -> None:
        cursor = self._cursor
        cursor.step += 1
        cursor.batch += 1
        if cursor.batch == self._per_epoch:
            cursor.epoch += 1
            cursor.batch = 0
            cursor.last_epoch_loss = cursor.epoch_nll / cursor.epoch_tokens
            cursor.epoch_nll, cursor.epoch_tokens = 0.0, 0

    def _save_if_due(self) -> None:
        def told_and_due() -> float:
            self._hooks.on_metrics(self._cursor.step, self._meter.of_step(self._cursor))
            return float(self._kept.is_due(self._config.checkpoint_seconds))

        if self._world.ask_first(told_and_due):
            self._save()

    def _save(self) -> None:
        self._world.ask_first(self._write)
        self._kept.add(self._cursor.step)

    def _write(self) -> float:
        cursor = self._cursor
        cursor.note_best(sum(cursor.losses[-self._per_epoch :]) / min(len(cursor.losses), self._per_epoch))
        saved = checkpoint.save(
            self._work / f"checkpoint-{cursor.step}",
            self._model,
            self._optimizer,
            cursor,
            input_sha256=self._input,
            best=self._best,
        )
        self._hooks.on_checkpoint(saved)
        checkpoint.prune(self._work, {*self._kept.steps[-1:], cursor.step, cursor.best_saved[2]})
        return 0.0

    def _tell(self) -> float:
        cursor = self._cursor
        metrics = {"loss": cursor.losses[-1]} if cursor.losses else {}
        if cursor.recall is not None:
            metrics["recall"] = cursor.recall
        self._hooks.on_progress(Progress(cursor.step, self._last, "steps", metrics))
        return 0.0

    def _notice(self, text: str) -> None:
        log.warning(text)
        if self._world.first:
            self._hooks.on_notice(text)
