"""Peak memory of generation, in a process of its own. Linux alone: it reads /proc."""

import argparse
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.engine.facts import invented_facts
from benchmarks.engine.setting import Setting, Sizes
from mixsd.decoding.rows import logits_alone
from mixsd.generation import Generation
from mixsd.models.load import Base, load_base, use_threads
from mixsd.models.registry import OnDisk


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes.

    Attributes:
        weights: Of the model's parameters.
        loaded: Resident when the model was loaded and had read a few tokens: weights and programs.
        peak: Most that was resident from then on.
        kv: Keys and values of two rows a slot, each as long as the longest prompt and the cap.
    """

    weights: int
    loaded: int
    peak: int
    kv: int

    def mebibytes(self) -> dict[str, float]:
        return {name: round(size / 2**20, 1) for name, size in asdict(self).items()}


def in_child(setting: Setting, count: int) -> Peak:
    """Measure records of `count` facts in a new process."""
    sizes, base = setting.sizes, setting.base
    options = {
        "folder": str(base.folder),
        "model": base.id,
        "revision": base.revision,
        "style": setting.style,
        "facts": count,
        "cap": sizes.cap,
        "slots": sizes.slots,
        "seed": setting.seed,
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", "benchmarks.engine.memory", json.dumps(options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Peak(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", type=json.loads)
    print(json.dumps(asdict(_measured(**parser.parse_args().options))))


def _measured(
    *,
    folder: str,
    model: str,
    revision: str,
    style: str,
    facts: int,
    cap: int,
    slots: int,
    seed: int,
    threads: int,
) -> Peak:
    use_threads(threads)
    base = load_base(OnDisk(model, revision, Path(folder), {}), device="cpu")
    setting = Setting(base, Sizes(cap=cap, slots=slots), style, pairs=1, seed=seed)
    logits_alone(base.model, [0] * 8)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    loaded = _resident("VmRSS")
    for _ in Generation(setting.endless, setting.config(cap)).made(invented_facts(facts, seed)):
        pass
    peak = _resident("VmHWM")
    longest = cap + max(text.prompts.longest for text in setting.texts(facts, cap))
    return Peak(_weights(base), loaded, peak, 2 * slots * longest * _bytes_a_position(base))


def _weights(base: Base) -> int:
    return sum(each.numel() * each.element_size() for each in base.model.parameters())


def _bytes_a_position(base: Base) -> int:
    """Return what keys and values of one token take in all layers."""
    config = base.model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = int(2 * config.num_hidden_layers * config.num_key_value_heads * width)
    return size * base.model.dtype.itemsize


def _resident(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
