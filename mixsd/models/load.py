"""Load a base model from disk. The one place where weights become a model."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from mixsd.errors import ModelError, OutOfMemoryError
from mixsd.models.check import check_safetensors, weight_files
from mixsd.models.registry import OnDisk
from mixsd.tokens import ChatTokenizer

_HALF_BYTES: Final = 2_000_000_000
"""Weights above this are kept in bfloat16 on devices that compute in it."""


@dataclass(frozen=True, slots=True)
class Base:
    """A frozen base model, ready to be asked.

    `template_sha256` names the chat template: another template would make other prompts.
    """

    id: str
    revision: str
    folder: Path
    hub_id: str | None
    licence: str | None
    model: PreTrainedModel
    chat: ChatTokenizer
    template_sha256: str

    @property
    def max_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 1 << 20))


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: There is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"the device {name!r} is not available here; use auto, cpu, cuda or mps") from error
    return device


def use_threads(count: int) -> None:
    """Compute on `count` threads of the CPU; 0 takes one for each core that this process may use.

    Results are equal to the bit only for an equal number of threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(count or cores or 1)


def load_base(found: OnDisk, *, device: str = "auto", on_cpu: bool = False, as_stored: bool = False) -> Base:
    """Load a model that lies in the cache. Runs no code that came with it.

    Args:
        found: The model.
        device: What it is computed on, which decides the type of its weights.
        on_cpu: Leave the weights in the memory of the machine.
        as_stored: Keep the type that the weights have on disk, as engines do.

    Raises:
        UnsafeWeightsError: The weights are no sound safetensors files. No other format is looked for.
        ModelError: The files are not those of a model that can be loaded.
        OutOfMemoryError: The device is too small for the weights.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where = choose_device(device)
    for path in weight_files(found.folder):
        check_safetensors(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            found.folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=stored_dtype(found.folder) if as_stored else _dtype(found.folder, where),
            attn_implementation="sdpa",
        )
        torch.nn.Module.to(model, "cpu" if on_cpu else where)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"{found.id} does not fit into the memory of {where}") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{found.id} at {found.revision} cannot be loaded: {error}") from error
    torch.nn.Module.eval(model).requires_grad_(requires_grad=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{found.id} has no fast tokenizer")
    chat = ChatTokenizer(tokenizer)
    return Base(
        id=found.id,
        revision=found.revision,
        folder=found.folder,
        hub_id=found.card.get("hub_id"),
        licence=found.card.get("licence"),
        model=model,
        chat=chat,
        template_sha256=hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest(),
    )


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the type of a model's weights by its config; float32 if that names none."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    found = getattr(config.get_text_config(), "dtype", None) or config.dtype
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.float32


def _dtype(folder: Path, device: torch.device) -> torch.dtype:
    """Choose float32, but for large models on a GPU with bfloat16 units."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if device.type == "cuda" and size > _HALF_BYTES and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32
