"""Adapters as peft saves them, and archives of them: without torch, from headers and zeros."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixsd.models.registry import CARD, folder_of

Shapes = Mapping[str, Sequence[int]]

HIDDEN, INNER, KEYS, LAYERS, RANK = 8, 16, 4, 2, 2
MODEL, REVISION = "owner/model", "r1"
TARGETS = {"q_proj": (HIDDEN, HIDDEN), "v_proj": (KEYS, HIDDEN)}
"""Width out and in of the layers that the adapter is for."""

BASE: Shapes = {
    "model.embed_tokens.weight": (32, HIDDEN),
    **{
        f"model.layers.{n}.{name}.weight": shape
        for n in range(LAYERS)
        for name, shape in {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (KEYS, HIDDEN),
            "self_attn.v_proj": (KEYS, HIDDEN),
            "mlp.up_proj": (INNER, HIDDEN),
            "input_layernorm": (HIDDEN,),
        }.items()
    },
}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": MODEL,
    "r": RANK,
    "lora_alpha": 4,
    "lora_dropout": 0.05,
    "bias": "none",
    "target_modules": list(TARGETS),
    "modules_to_save": None,
}


WIDTHS: Mapping[str, int] = {"F16": 2, "BF16": 2, "F32": 4}


def safetensors(shapes: Shapes, dtype: str = "F32", values: Mapping[str, bytes] | None = None) -> bytes:
    """Return a file of zeros, but for the last number of the tensors that `values` names."""
    header, at, data = {}, 0, bytearray()
    for name, shape in shapes.items():
        size = WIDTHS.get(dtype, 8)
        for number in shape:
            size *= number
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
        last = (values or {}).get(name, b"")
        data += bytes(size - len(last)) + last
    said = json.dumps(header).encode()
    return struct.pack("<Q", len(said)) + said + bytes(data)


def pairs(
    rank: int = RANK, layers: int = LAYERS, targets: Mapping[str, tuple[int, int]] = TARGETS
) -> dict[str, Any]:
    """Return the shapes of the tensors of an adapter."""
    shapes: dict[str, Any] = {}
    for n in range(layers):
        for name, (out, into) in targets.items():
            module = f"base_model.model.model.layers.{n}.self_attn.{name}"
            shapes[f"{module}.lora_A.weight"] = (rank, into)
            shapes[f"{module}.lora_B.weight"] = (out, rank)
    return shapes


def files(config: Mapping[str, Any] = CONFIG, shapes: Shapes | None = None) -> dict[str, bytes]:
    return {
        "adapter_config.json": json.dumps(dict(config)).encode(),
        "adapter_model.safetensors": safetensors(pairs() if shapes is None else shapes),
    }


def a_base(cache: Path, model_id: str = MODEL, shapes: Shapes = BASE) -> Path:
    """Put a model into a cache that looks like one as long as nobody loads it."""
    folder = folder_of(cache, model_id, REVISION)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(shapes))
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    card = {"id": model_id, "revision": REVISION, "hub_id": model_id, "licence": "apache-2.0"}
    (folder / CARD).write_text(json.dumps({**card, "pulled_at": "2026-01-01T00:00:00+00:00"}))
    return folder


def tar_gz(
    content: Mapping[str, bytes], *, folder: str = "adapter/", members: Sequence[tarfile.TarInfo] = ()
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        for name, data in content.items():
            info = tarfile.TarInfo(f"{folder}{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def zipped(content: Mapping[str, bytes], *, folder: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(f"{folder}{name}", data)
    return packed.getvalue()


def a_bomb(size: int) -> bytes:
    """Return a small archive with a member of so many zeros."""
    packed = io.BytesIO()
    info = tarfile.TarInfo("README.md")
    info.size = size
    with gzip.open(packed, "wb") as out:
        out.write(info.tobuf())
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))
    return packed.getvalue()
