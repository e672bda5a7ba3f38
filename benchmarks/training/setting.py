"""What is measured on: a model, texts, and how large everything is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import torch
from peft import PeftModel

from benchmarks.engine.facts import invented_facts
from mixsd.config import LoraConfig, TrainConfig
from mixsd.models.load import Base
from mixsd.progress import Progress
from mixsd.prompts import STYLES
from mixsd.training import lora
from mixsd.training.batches import Example, weight_of
from mixsd.training.hooks import Hooks
from mixsd.training.loop import train_adapter
from mixsd.training.merged import MergedLayers
from mixsd.training.step import Gradients
from mixsd.training.ways import TreeWay

LORA: Final = LoraConfig(rank=16, alpha=16.0, target_modules=("all-linear",))
_WORDINGS: Final = (
    "The answer is {answer}.",
    "It is {answer}.",
    "That is {answer}, as far as I know.",
    "{answer}",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work a measure is.

    Attributes:
        facts: Of most measures.
        batch: Texts of a step.
        warm: Epochs before any that is timed.
        epochs: Epochs that are timed.
        times: How many times as many facts T7 takes.
        curve: Steps of the loss curve that T1 compares.
    """

    facts: int = 32
    batch: int = 16
    warm: int = 1
    epochs: int = 2
    times: int = 4
    curve: int = 50


TINY: Final = Sizes(facts=6, batch=3, epochs=1, times=2, curve=6)


@dataclass(frozen=True, slots=True)
class Setting:
    """A model and what it is trained on.

    Attributes:
        trl: A python that has trl, if there is one.
    """

    base: Base
    sizes: Sizes
    style: str
    pairs: int
    trl: Path | None
    seed: int = 0

    def examples(self, count: int, wordings: int = 1) -> list[Example]:
        """Return a plain answer to each of so many facts, or several, worded differently."""
        chat, style = self.base.chat, STYLES[self.style]
        forms = _WORDINGS[:wordings] if wordings > 1 else (style.target_text("{answer}"),)
        return [
            Example(
                tuple(chat.prompt_ids(style.naive_prompt(fact.question))),
                tuple(chat.target_ids(form.replace("{answer}", fact.answer))),
            )
            for fact in invented_facts(count, self.seed)
            for form in forms
        ]

    def config(self, steps: int) -> TrainConfig:
        return TrainConfig(
            lora=LORA,
            learning_rate=2e-4,
            warmup_steps=0,
            min_steps=steps,
            max_steps=steps,
            batch_size=self.sizes.batch,
            stop_when_learned=False,
            checkpoint_seconds=86_400,
            precision="fp32",
            seed=self.seed,
        )


def epochs_of_training(setting: Setting, examples: Sequence[Example]) -> float:
    """Train for some epochs as a user does; return the seconds of those that are timed."""
    sizes = setting.sizes
    each = -(-len(examples) // sizes.batch)
    at: list[float] = []

    def note(progress: Progress) -> None:
        at.append(perf_counter())

    trained_for(setting, examples, (sizes.warm + sizes.epochs) * each, Hooks(on_progress=note))
    return at[-1] - at[sizes.warm * each]


def trained_for(setting: Setting, examples: Sequence[Example], steps: int, hooks: Hooks) -> tuple[float, ...]:
    """Train, take the adapter off again, and return the loss of each step."""
    with TemporaryDirectory() as folder:
        trained = train_adapter(
            setting.base, examples, setting.config(steps), work=Path(folder), input_sha256="", hooks=hooks
        )
        lora.detach(trained.model)
    return trained.losses


@contextmanager
def fresh_adapter(setting: Setting) -> Iterator[PeftModel]:
    """Put an adapter on the model while the block runs."""
    model = lora.attach(setting.base, LORA, seed=setting.seed)
    try:
        model.train()
        yield model
    finally:
        lora.detach(model)


def steps_of(
    setting: Setting, model: PeftModel, batches: Sequence[Sequence[Example]], most: int | None
) -> float:
    """Take a step on each batch, of whose texts `most` tokens at most are shared; return the seconds."""
    gradients = Gradients(model, TreeWay(model, most_shared=most), merged=MergedLayers(model), autocast=None)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0, fused=True)
    began = perf_counter()
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        gradients.add(batch, weight_of(batch))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return perf_counter() - began


def batches_of(examples: Sequence[Example], size: int, count: int) -> list[list[Example]]:
    """Return so many batches, from the beginning again after the last example."""
    endless = cycle(examples)
    return [list(islice(endless, size)) for _ in range(count)]


def tokens_of(examples: Sequence[Example]) -> int:
    """Return the tokens of texts, shared or not."""
    return sum(len(example.prompt) + len(example.target) for example in examples)
