"""Files of weights with numbers that are none."""

import json
import math
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixsd.errors import ModelError, UnsafeWeightsError
from mixsd.models.finite import CHUNK, FLOATS, check_finite

LARGEST = struct.unpack("<f", (0x7F7F_FFFF).to_bytes(4, "little"))[0]
"""Of 32 bits."""

FORMS = {"F32": "<f", "F16": "<e", "F64": "<d"}
KINDS = ("F32", "F16", "BF16", "F64")


def packed(kind: str, value: float) -> bytes:
    """Return a number in a kind of float; BF16 is the upper half of F32."""
    return struct.pack("<f", value)[2:] if kind == "BF16" else struct.pack(FORMS[kind], value)


def written(path: Path, tensors: Mapping[str, tuple[str, bytes]]) -> Path:
    header, at = {}, 0
    for name, (kind, data) in tensors.items():
        count = len(data) // FLOATS[kind].width
        header[name] = {"dtype": kind, "shape": [count], "data_offsets": [at, at + len(data)]}
        at += len(data)
    said = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said + b"".join(data for _, data in tensors.values()))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["first", "last", "before a piece ends", "behind it"])
def test_one_number_that_is_none_is_found_wherever_it_stands(
    tmp_path: Path, kind: str, value: float, place: str
) -> None:
    width = FLOATS[kind].width
    count = 2 * CHUNK // width + 3
    at = {
        "first": 0,
        "last": count - 1,
        "before a piece ends": CHUNK // width - 1,
        "behind it": CHUNK // width,
    }
    data = bytearray(packed(kind, -1.5) * count)
    data[at[place] * width : (at[place] + 1) * width] = packed(kind, value)
    sound = (kind, packed(kind, 0.1) * 7)
    path = written(tmp_path / "w.safetensors", {"a": sound, "the one": (kind, bytes(data)), "b": sound})

    with pytest.raises(ModelError, match=r"w\.safetensors: the tensor 'the one' has numbers that are NaN"):
        check_finite(path)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_at_the_edges_are_numbers(tmp_path: Path, kind: str) -> None:
    largest = {"F16": 65504.0, "BF16": 3.3895313892515355e38}.get(kind, LARGEST)
    values = [0.0, -0.0, 1.0, largest, -largest, 6e-8 if kind == "F16" else 1e-40]
    data = b"".join(packed(kind, value) for value in values)

    check_finite(written(tmp_path / "w.safetensors", {"a": (kind, data), "empty": (kind, b"")}))


@pytest.mark.parametrize("value", [1e300, 3.5e38, 2.0**128 - 2.0**103])
def test_what_is_infinite_once_it_has_32_bits_is_refused(tmp_path: Path, value: float) -> None:
    for sign in (value, -value):
        path = written(tmp_path / "w.safetensors", {"a": ("F64", struct.pack("<dd", 1.0, sign))})

        with pytest.raises(ModelError, match="too large"):
            check_finite(path)


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_it_says_what_arithmetic_says(tmp_path_factory: pytest.TempPathFactory, bits: list[int]) -> None:
    data = struct.pack(f"<{len(bits)}I", *bits)
    path = written(tmp_path_factory.getbasetemp() / "any.safetensors", {"a": ("F32", data)})

    try:
        check_finite(path)
        found = True
    except ModelError:
        found = False

    assert found == all(map(math.isfinite, struct.unpack(f"<{len(bits)}f", data)))


def test_a_large_file_takes_no_more_memory_than_a_piece(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", {"a": ("F16", packed("F16", 0.5) * (8 << 20))})

    tracemalloc.start()
    try:
        check_finite(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert path.stat().st_size > 60 * CHUNK
    assert peak < 16 * CHUNK


def test_a_file_that_is_not_sound_is_said_to_be_unsafe(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", {"a": ("F32", packed("F32", 1.0))})
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(UnsafeWeightsError):
        check_finite(path)
