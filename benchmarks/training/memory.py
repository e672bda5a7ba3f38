"""Peak memory of training, in a process of its own. Linux alone: it reads /proc."""

import argparse
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.training.setting import Setting, Sizes, trained_for
from mixsd.models.load import load_base, use_threads
from mixsd.models.registry import OnDisk
from mixsd.training.hooks import Hooks


def in_child(setting: Setting, steps: int) -> int:
    """Train for some steps in a new process; return the most bytes that were resident."""
    base, sizes = setting.base, setting.sizes
    options = {
        "folder": str(base.folder),
        "model": base.id,
        "revision": base.revision,
        "style": setting.style,
        "facts": sizes.facts,
        "batch": sizes.batch,
        "steps": steps,
        "seed": setting.seed,
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", "benchmarks.training.memory", json.dumps(options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", type=json.loads)
    print(_measured(**parser.parse_args().options))


def _measured(
    *,
    folder: str,
    model: str,
    revision: str,
    style: str,
    facts: int,
    batch: int,
    steps: int,
    seed: int,
    threads: int,
) -> int:
    use_threads(threads)
    base = load_base(OnDisk(model, revision, Path(folder), {}), device="cpu")
    setting = Setting(base, Sizes(facts=facts, batch=batch), style, pairs=1, trl=None, seed=seed)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    trained_for(setting, setting.examples(facts), steps, Hooks())
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
