"""What kind of machine a run was computed on: an equal one gives equal bytes."""

import platform
from typing import Any

import torch


def kind_of(device: torch.device) -> dict[str, Any]:
    """Return what decides how sums are rounded: the device, and what it computes with.

    `kernels` is the set of instructions that the CPU's kernels were chosen for.
    """
    on_gpu = device.type == "cuda"
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
    }
