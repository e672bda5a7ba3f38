"""Driving training in tests: examples, adapters on random models, gradients, whole runs."""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from mixsd.config import LoraConfig, TrainConfig
from mixsd.models.load import Base
from mixsd.training import lora
from mixsd.training.batches import Example
from mixsd.training.loop import Trained, train_adapter
from mixsd.training.merged import MergedLayers
from mixsd.training.soft import Soft, soft_targets
from mixsd.training.step import Gradients, gradient_of
from mixsd.training.ways import PlainWay, Way
from tests.fixtures.families import WINDOW
from tests.fixtures.tiny import VOCABULARY

RATE: Final = 5e-4
CONFIG: Final = TrainConfig(
    lora=LoraConfig(rank=4, alpha=8),
    learning_rate=RATE,
    epochs=3,
    min_steps=0,
    batch_size=4,
    warmup_steps=2,
    stop_when_learned=False,
)
EXAMPLES: Final = [
    Example(tuple(range(5, 9 + place)), tuple(range(30 + place, 34 + 2 * place))) for place in range(6)
]
DIGEST: Final = "d" * 64


def train(
    base: Base,
    work: Path,
    config: TrainConfig = CONFIG,
    examples: Sequence[Example] = EXAMPLES,
    **options: Any,
) -> Trained:
    return train_adapter(base, examples, config, work=work, **{"input_sha256": DIGEST, **options})


def weights(trained: Trained) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in lora.weights_of(trained.model).items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def tokens(count: int, seed: int) -> tuple[int, ...]:
    dice = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, VOCABULARY, (count,), generator=dice).tolist())


def soft(count: int, seed: int, kind: Any = "forward", candidates: int = 5) -> Soft:
    scores_TV = torch.randn(count, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    return soft_targets(scores_TV, candidates, kind)


def a_batch() -> list[Example]:
    """Texts of all lengths about the window: a header, questions with several targets, one twice."""
    header = tokens(4, 1)
    first, second, third = ((*header, *tokens(count, count)) for count in (1, WINDOW, 3 * WINDOW))
    return [
        Example(first, tokens(7, 11)),
        Example(first, (*tokens(7, 11)[:3], *tokens(2, 12))),
        Example(second, tokens(1, 13)),
        Example(second, tokens(2 * WINDOW, 14)),
        Example(third, tokens(4, 15)),
        Example(tokens(3, 16), tokens(5, 17)),
        Example(first, tokens(7, 11)),
        Example((9,), tokens(2, 18)),
    ]


def a_weighted_batch() -> list[Example]:
    """The same with weights, and with soft targets of every kind beside hard ones."""
    batch = [replace(example, weight=1.0 + place / 4) for place, example in enumerate(a_batch())]
    kinds = {1: "forward", 3: "reverse", 4: "nll", 6: "forward"}
    for place, kind in kinds.items():
        batch[place] = replace(batch[place], soft=soft(len(batch[place].target), place, kind))
    return batch


def adapted(model: PreTrainedModel, **options: Any) -> PeftModel:
    """Put an adapter on a model that is not zero anywhere, so that no part of a gradient is hidden."""
    shape: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        adapter = get_peft_model(model, PeftLoraConfig(task_type="CAUSAL_LM", **shape))
    torch.nn.Module.to(adapter, model.dtype)
    dice = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trained_of(adapter):
            parameter.add_(torch.randn(parameter.shape, generator=dice) * 0.05)
    adapter.train()
    return adapter


def trained_of(model: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradient(
    model: PeftModel,
    way: Way | None = None,
    examples: Sequence[Example] = (),
    *,
    merged: bool = False,
    **options: Any,
) -> Tensor:
    """Return loss and gradient as one vector. Without a way: the plain one."""
    gradients = Gradients(
        model,
        way or PlainWay(model, pad_id=0),
        merged=MergedLayers(model) if merged else None,
        **{"autocast": None, **options},
    )
    return gradient_of(gradients, examples or a_batch(), trained_of(model))


def off(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative to the largest element; of losses and of gradients."""
    parts = [(found[:1], wanted[:1]), (found[1:], wanted[1:])]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in parts)


@contextmanager
def all_in_float64() -> Any:
    """Have parts of models that compute in float32 whatever their weights are do so in float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(Tensor, "float", Tensor.double)
        yield
