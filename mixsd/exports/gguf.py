"""GGUF by llama.cpp: its published converters write it, its Python binding reads it."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch

from mixsd.errors import DiskFullError, ModelError
from mixsd.exports.engines import OnStep
from mixsd.exports.errors import ConversionError, ConverterMissingError
from mixsd.exports.reading import Reading, Text
from mixsd.tokens import as_kept

MODEL: Final = "convert_hf_to_gguf.py"
LORA: Final = "convert_lora_to_gguf.py"
BINDING: Final = "llama_cpp"
INSTALL: Final = "git clone --depth 1 https://github.com/ggml-org/llama.cpp && pip install sentencepiece"
_TYPES: Final = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_LOOK: Final = 1.0
"""Seconds between two looks at a converter."""
_NO_ROOM: Final = "No space left on device"


def find_converter(name: str, folder: Path | None) -> Path:
    """Return a converter of llama.cpp: in its folder if one is named, else on the PATH.

    Raises:
        ConverterMissingError: It is not there. The message says how it is installed.
    """
    found = folder / name if folder else shutil.which(name)
    if found is None or not Path(found).is_file():
        where = f"in {folder} (MIXSD_LLAMA_CPP)" if folder else "on the PATH"
        raise ConverterMissingError(
            f"there is no {name} {where} of this worker, so no GGUF can be written: run `{INSTALL}` there "
            "and set MIXSD_LLAMA_CPP to the folder llama.cpp"
        )
    return Path(found)


def convert_model(
    converter: Path, model: Path, target: Path, dtype: torch.dtype, *, on_step: Callable[[], None]
) -> None:
    """Write a model as GGUF, in the type that it has on disk. `on_step` is called now and then; it may raise.

    Raises:
        ConversionError: The converter does not know it.
    """
    kind = _TYPES.get(dtype, "auto")
    _run([converter, model, "--outfile", target, "--outtype", kind], target, on_step)


def convert_lora(
    converter: Path, adapter: Path, base: Path, target: Path, *, on_step: Callable[[], None]
) -> None:
    """Write an adapter as GGUF, to be laid on a GGUF of its base model; see `convert_model`."""
    _run([converter, "--base", base, "--outfile", target, "--outtype", "f32", adapter], target, on_step)


def _run(command: Sequence[str | Path], target: Path, on_step: Callable[[], None]) -> None:
    """Run a converter with our interpreter, offline and without secrets in its environment."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    environ |= {"HF_HUB_OFFLINE": "1"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=said, env=environ
        ) as process,
    ):
        try:
            while process.poll() is None:
                on_step()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK)
        except BaseException:
            process.kill()
            raise
        said.seek(0)
        lines = said.read().strip().splitlines()
    if any(_NO_ROOM in line for line in lines):
        raise DiskFullError(f"no room left to write {target.name}: free some space and retry")
    if process.returncode or not target.is_file():
        why = (lines or ["it wrote nothing"])[-1]
        if why.startswith("ModuleNotFoundError"):
            raise ConverterMissingError(
                f"{Path(command[0]).name} lacks a library on this worker ({why[:200]}): `{INSTALL}`"
            )
        raise ConversionError(f"{Path(command[0]).name} failed: {why[:300]}")


def binding_is_there() -> bool:
    """Say whether llama-cpp-python is installed."""
    return importlib.util.find_spec(BINDING) is not None


class LlamaCpp:
    """A GGUF as llama-cpp-python loads it, with an adapter in GGUF on it if one is named."""

    name = "llama.cpp"

    def __init__(
        self,
        model: Path,
        lora: Path | None = None,
        *,
        context: int,
        llama: Callable[..., Any] | None = None,
    ) -> None:
        """Load it.

        Args:
            llama: What loads it. None: `llama_cpp.Llama`.
            context: Most tokens of prompt and answer together.

        Raises:
            ModelError: llama.cpp cannot load it.
        """
        load: Any = llama or importlib.import_module(BINDING).Llama
        extra = {"lora_path": str(lora)} if lora else {}
        try:
            self._model: Any = load(
                model_path=str(model), n_ctx=context, logits_all=True, verbose=False, seed=0, **extra
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"llama.cpp cannot load {model.name}: {error}") from error
        self._context = context

    def read(self, texts: Sequence[Text], on_step: Callable[[], None]) -> Reading:
        nats = []
        for text in texts:
            on_step()
            ids = [*text.prompt, *text.answer]
            self._model.reset()
            self._model.eval(ids)
            logits_TV = torch.from_numpy(self._model.scores[len(text.prompt) - 1 : len(ids) - 1].copy())
            nats.append(float(torch.nn.functional.cross_entropy(logits_TV, torch.tensor(text.answer))))
        return Reading(tuple(nats))

    def answers(
        self, questions: Sequence[str], *, max_new_tokens: int, batch_size: int, on_step: OnStep
    ) -> list[str | None]:
        """Return what it says by the chat template that lies in the file, one question after another."""
        said: list[str | None] = []
        for question in questions:
            on_step(len(said))
            messages = [{"role": "user", "content": question}]
            try:
                answer = self._model.create_chat_completion(
                    messages, temperature=0.0, max_tokens=max_new_tokens
                )
            except ValueError:  # longer than the context
                said.append(None)
                continue
            said.append(as_kept(answer["choices"][0]["message"]["content"]))
        on_step(len(said))
        return said

    def close(self) -> None:
        self._model.close()
