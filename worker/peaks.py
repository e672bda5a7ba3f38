"""How much memory this process has taken at most, since it was last asked to begin anew. Loads no torch."""

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")
_HIGHEST: Final = "5"
"""What Linux takes for: forget the highest resident size."""
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes. `device` is None where nothing is computed but on the CPU."""

    host: int
    device: int | None


def begin() -> None:
    """Begin anew. Where the system cannot forget a peak, that of the process so far goes on to count."""
    with suppress(OSError):
        _RESET.write_text(_HIGHEST)
    cuda = _cuda()
    if cuda is not None:
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)


def peak() -> Peak:
    """Return the most memory that was taken at once, of all GPUs that this process uses together.

    Metal keeps no peak: of its memory it is what is held now, which is what was held, as its driver
    gives little of it back.
    """
    cuda, device = _cuda(), None
    if cuda is not None:
        device = sum(cuda.max_memory_allocated(number) for number in range(cuda.device_count())) or None
    elif (torch := sys.modules.get("torch")) is not None and torch.backends.mps.is_available():
        device = torch.mps.driver_allocated_memory() or None
    return Peak(_resident(), device)


def _cuda() -> Any:
    """Return `torch.cuda` if it is in use: asking it must not be what begins that."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _resident() -> int:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * _KIB
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * _KIB
