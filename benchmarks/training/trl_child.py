"""Steps of trl's SFTTrainer. Runs by a python of its own, and imports nothing of ours.

Reads a line of JSON for each run and writes one: the seconds of the timed steps, the loss of each
step, and the most bytes that were resident. Linux alone: it reads /proc.
"""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

RECIPES: dict[str, dict[str, Any]] = {
    "tuned": {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    "sequential": {"gradient_checkpointing": False, "train_sampling_strategy": "sequential"},
    "default": {},
}


class Watch(TrainerCallback):
    """Times the steps behind the first few."""

    def __init__(self, warm: int) -> None:
        self.seconds = 0.0
        self._warm = warm
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._began = perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step > self._warm:
            self.seconds += perf_counter() - self._began


def run(options: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Train a fresh adapter by a recipe; completion only, float32, on the CPU."""
    base = AutoModelForCausalLM.from_pretrained(options["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, options["adapter"], is_trainable=True)
    rows = [
        {
            "input_ids": prompt + target,
            "completion_mask": [0] * len(prompt) + [1] * len(target),
        }
        for prompt, target in asked["examples"]
    ]
    watch = Watch(asked["warm"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=asked["warm"] + asked["steps"],
                per_device_train_batch_size=options["batch"],
                learning_rate=options["learning_rate"],
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=1.0,
                completion_only_loss=True,
                bf16=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                seed=0,
                **RECIPES[asked["recipe"]],
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(options["model"]),
            callbacks=[watch],
        )
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": watch.seconds, "losses": losses, "peak": _resident("VmHWM")}


def _resident(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    options = json.loads(sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr  # trl prints
    torch.set_num_threads(options["threads"])
    for line in sys.stdin:
        print(json.dumps(run(options, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
