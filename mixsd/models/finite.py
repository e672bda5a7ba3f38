"""Whether the numbers of a safetensors file are finite: without torch and numpy, which the API has not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from mixsd.errors import ModelError
from mixsd.models.check import Tensor, tensors_of

CHUNK: Final = 1 << 18
"""Bytes that are looked at at once; a multiple of the width of every float."""


@dataclass(frozen=True, slots=True)
class _Float:
    """A kind of float. What has a magnitude of `least` or more is NaN, or infinite in 32 bits."""

    width: int
    least: int


FLOATS: Final[Mapping[str, _Float]] = MappingProxyType(
    {
        "F32": _Float(4, 0x7F80_0000),
        "F16": _Float(2, 0x7C00),
        "BF16": _Float(2, 0x7F80),
        "F64": _Float(8, 0x47EF_FFFF_F000_0000),  # halfway from the largest float of 32 bits to the next
    }
)


def check_finite(path: Path) -> None:
    """Look at all numbers of a file of floats, a piece at a time.

    Raises:
        UnsafeWeightsError: It is no sound safetensors file.
        ModelError: A number is NaN or infinite, or too large for a float of 32 bits. Names its tensor.
    """
    tensors = tensors_of(path)
    with path.open("rb") as file:
        for name, tensor in tensors.items():
            kind = FLOATS[tensor.dtype]
            if not all(_all_finite(piece, kind) for piece in _pieces(file, tensor)):
                raise ModelError(
                    f"{path.name}: the tensor {name[:200]!r} has numbers that are NaN, infinite or "
                    "too large: its training diverged, or the file was damaged"
                )


def _pieces(file: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    file.seek(tensor.begin)
    left = tensor.end - tensor.begin
    while piece := file.read(min(CHUNK, left)):
        left -= len(piece)
        yield piece


def _all_finite(piece: bytes, kind: _Float) -> bool:
    """Look at all floats of a piece at once, as one long number.

    To the magnitude of each is added what makes the least that is not finite reach its bit of sign.
    """
    count = len(piece) // kind.width
    sign = 1 << (8 * kind.width - 1)
    magnitudes = int.from_bytes(piece, "little") & _repeated(sign - 1, kind.width, count)
    return not (magnitudes + _repeated(sign - kind.least, kind.width, count)) & _repeated(
        sign, kind.width, count
    )


@lru_cache(maxsize=3 * len(FLOATS))
def _repeated(bits: int, width: int, count: int) -> int:
    return int.from_bytes(bits.to_bytes(width, "little") * count, "little")
