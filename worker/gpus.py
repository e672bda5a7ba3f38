"""GPUs of this machine, as NVIDIA's management library shows them. Loads no CUDA, so a GPU stays free."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.settings import Settings

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. `id` is its name all over the world; `visible` is how CUDA is told to use it."""

    index: int
    id: str
    visible: str
    name: str | None = None


def find_gpus(settings: Settings, environ: Mapping[str, str] = os.environ) -> Sequence[Gpu]:
    """Return the GPUs that jobs of this machine share. None where models run on something else.

    Those are the ones of `MIXSD_GPUS`, else all that are seen, as far as `CUDA_VISIBLE_DEVICES`
    allows. From `MIXSD_DEVICE=cuda:1` on the first one is left out.
    """
    kind, _, first = settings.device.partition(":")
    if kind not in {"auto", "cuda"} or not settings.gpus:
        return ()
    if settings.gpus == "auto":
        found = _allowed(_seen(), environ.get(VISIBLE))
    else:
        found = [_by_index(int(index)) for index in dict.fromkeys(settings.gpus.split(","))]
    return found[int(first or 0) :]


def _by_index(index: int) -> Gpu:
    return Gpu(index, f"{socket.gethostname()}-{index}", str(index))


def _seen() -> list[Gpu]:
    try:
        import pynvml  # noqa: PLC0415  of the extra `ml`
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        named = [(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError:  # no driver: a machine without GPUs
        return []
    return [Gpu(index, uuid, uuid, name) for index, (uuid, name) in enumerate(named)]


def _allowed(seen: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES` names, in its order, by index or by beginning of the id.

    As CUDA does, stops at the first entry that names none.
    """
    if visible is None:
        return list(seen)
    allowed: list[Gpu] = []
    for entry in (part.strip() for part in visible.split(",")):
        named = [gpu for gpu in seen if entry and (str(gpu.index) == entry or gpu.id.startswith(entry))]
        if len(named) != 1:
            break
        allowed.append(named[0])
    return allowed


def report(gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """Return what a worker says of its GPUs, with their memory in bytes where it is known."""
    return [{"index": gpu.index, "name": gpu.name, **_memory(gpu)} for gpu in gpus]


def _memory(gpu: Gpu) -> dict[str, int]:
    if gpu.id != gpu.visible:  # given by index: nothing is known of it
        return {}
    import pynvml  # noqa: PLC0415  it was there when the GPU was found

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(gpu.id))
    except pynvml.NVMLError:
        return {}
    return {"memory_bytes": int(memory.total), "memory_used_bytes": int(memory.used)}
