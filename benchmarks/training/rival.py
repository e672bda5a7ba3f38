"""trl's SFTTrainer on the same texts, from this side: starts its process and asks it to train."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.training.setting import LORA, Setting
from mixsd.training import lora
from mixsd.training.batches import Example

Recipe = Literal["tuned", "default", "sequential"]

_CHILD = Path(__file__).with_name("trl_child.py")


@dataclass(frozen=True, slots=True)
class Theirs:
    """What a run of theirs gave: seconds of the timed steps, the loss of each, bytes at the peak."""

    seconds: float
    losses: Sequence[float]
    peak: int


class Rival:
    """A process with trl in it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def train(self, examples: Sequence[Example], recipe: Recipe, *, warm: int, steps: int) -> Theirs:
        """Train a fresh adapter for `warm` steps, then for `steps` that are timed."""
        asked: dict[str, Any] = {
            "examples": [[list(example.prompt), list(example.target)] for example in examples],
            "recipe": recipe,
            "warm": warm,
            "steps": steps,
        }
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("trl's process ended: what it wrote to stderr says why")
        return Theirs(**json.loads(line))


@contextmanager
def running(setting: Setting) -> Iterator[Rival]:
    """Start the process; it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        model = lora.attach(setting.base, LORA, seed=setting.seed)
        lora.save_adapter(model, Path(folder))
        lora.detach(model)
        options = {
            "model": str(setting.base.folder),
            "adapter": folder,
            "batch": setting.sizes.batch,
            "threads": torch.get_num_threads(),
            "learning_rate": setting.config(1).learning_rate,
        }
        process = subprocess.Popen(
            [str(setting.trl), str(_CHILD), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Rival(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
