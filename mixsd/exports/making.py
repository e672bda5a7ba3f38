"""Exports, step by step: what the adapter says, the files, and whether those say the same.

One model is in memory at a time: what one was found to say is noted before the next is loaded.
"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from mixsd.exports import gguf, merging
from mixsd.exports.engines import Engine, Transformers
from mixsd.exports.errors import NotExportableError
from mixsd.exports.ledger import Entry, read_ledger
from mixsd.exports.parity import Certificate, Reference, certify, noise_of, not_checked
from mixsd.exports.reading import Reading, Text, read, texts_of
from mixsd.models.check import read_object
from mixsd.models.fitting import check_base
from mixsd.models.load import Base, stored_dtype
from mixsd.packaging import CONFIG, MANIFEST, WEIGHTS
from mixsd.progress import OnProgress, Progress, silent
from mixsd.training import lora

GGUF_MODEL: Final = "model.gguf"
GGUF_LORA: Final = "adapter.gguf"
_MAX_NEW_TOKENS: Final = 40
_BATCH_SIZE: Final = 16
_SPARE: Final = 64
"""Tokens by which a prompt may be longer as another engine makes it."""


class ExportFormat(StrEnum):
    """What an adapter can be written as."""

    MERGED = "merged"
    GGUF = "gguf"
    GGUF_LORA = "gguf_lora"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be exported, and how.

    Attributes:
        package: Folder of the adapter with its config, manifest and ledger.
        work: Folder for what is thrown away.
        llama_cpp: Folder of llama.cpp. None: its converters are looked for on the PATH.
        llama: What loads GGUF, as `llama_cpp.Llama` does. None: that, if it is installed.
    """

    package: Path
    form: ExportFormat
    work: Path
    llama_cpp: Path | None = None
    llama: Callable[..., Any] | None = None
    on_progress: OnProgress = silent

    def beat(self) -> None:
        """Say that something goes on, between two units of progress."""
        self.on_progress(Progress(0, 1, "questions"))


@dataclass(slots=True)
class Found:
    """What base model and adapter say, as far as an export is held to it.

    `context` is how many tokens an engine must hold to be asked all of it: many models could hold far
    more, and an engine takes memory for all that it is to hold.
    """

    entries: Sequence[Entry]
    texts: Sequence[Text]
    base: Reading
    batched: Reading
    adapter: Reading
    rounded: Reading | None
    max_new_tokens: int
    context: int
    dtype: torch.dtype
    base_folder: Path
    device: str
    gguf_base: Path | None = field(default=None)


def converters_of(job: Job) -> dict[str, Path]:
    """Return the converters that a format takes, before anything is loaded for it.

    Raises:
        ConverterMissingError: One is not there.
    """
    names = {
        ExportFormat.MERGED: (),
        ExportFormat.GGUF: (gguf.MODEL,),
        ExportFormat.GGUF_LORA: (gguf.MODEL, gguf.LORA),
    }[job.form]
    return {name: gguf.find_converter(name, job.llama_cpp) for name in names}


def observe(base: Base, job: Job) -> tuple[PeftModel, Found]:
    """Put the adapter on its base model, and note what both say.

    Raises:
        NotExportableError: The format cannot hold such an adapter.
        ModelError: The adapter was made for another base model or chat template, or has no ledger.
    """
    manifest = read_object(job.package / MANIFEST)
    check_base(manifest, base)
    if job.form is ExportFormat.GGUF_LORA and read_object(job.package / CONFIG).get("use_dora"):
        raise NotExportableError("the adapter is DoRA, which gguf_lora cannot hold: export it as gguf")
    entries = read_ledger(job.package)
    texts = texts_of(entries, base.chat, max_tokens=base.max_tokens)
    alone = read(base.model, texts, on_step=job.beat)
    batched = read(base.model, texts, batched=True, on_step=job.beat)
    model = lora.load_adapter(base, job.package)
    model.eval()
    adapter = read(model, texts, on_step=job.beat)
    merges = job.form is not ExportFormat.GGUF_LORA
    settings = manifest.get("evaluation")
    said = settings.get("max_new_tokens") if isinstance(settings, dict) else None
    cap = said if isinstance(said, int) else _MAX_NEW_TOKENS
    lengths = [len(base.chat.prompt_ids(entry.question)) + cap for entry in entries]
    lengths += [len(text.prompt) + len(text.answer) for text in texts]
    return model, Found(
        entries=entries,
        texts=texts,
        base=alone,
        batched=batched,
        adapter=adapter,
        rounded=merging.read_rounded(base, model, texts, job.beat) if merges else None,
        max_new_tokens=cap,
        context=min(base.max_tokens, max(lengths, default=cap) + _SPARE),
        dtype=stored_dtype(base.folder),
        base_folder=base.folder,
        device=base.model.device.type,
    )


def write(base: Base, model: PeftModel, job: Job, target: Path) -> None:
    """Write the export into an empty folder. The base model cannot be used for anything else afterwards.

    Raises:
        ConverterMissingError: llama.cpp is not there.
        ConversionError: It cannot convert this model.
        DiskFullError: There was no room.
    """
    converters = converters_of(job)
    if job.form is ExportFormat.GGUF_LORA:
        small = _for_llama_cpp(job)
        gguf.convert_lora(converters[gguf.LORA], small, base.folder, target / GGUF_LORA, on_step=job.beat)
        return
    if job.form is ExportFormat.MERGED:
        merging.merge_into(base, model, target)
        return
    merged = job.work / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    dtype = merging.merge_into(base, model, merged)
    gguf.convert_model(converters[gguf.MODEL], merged, target / GGUF_MODEL, dtype, on_step=job.beat)
    shutil.rmtree(merged)


def _for_llama_cpp(job: Job) -> Path:
    """Return a folder with the adapter as llama.cpp reads it: it scales by alpha / rank alone."""
    small = job.work / "peft"
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    shutil.copyfile(job.package / WEIGHTS, small / WEIGHTS)
    config = read_object(job.package / CONFIG)
    if config.get("use_rslora"):
        config |= {"lora_alpha": config["lora_alpha"] * math.sqrt(config["r"]), "use_rslora": False}
    (small / CONFIG).write_text(json.dumps(config))
    return small


def check(found: Found, job: Job, target: Path) -> Certificate:
    """Load an export as its engine does, ask it the ledger's questions, and judge it."""
    if job.form is not ExportFormat.MERGED and job.llama is None and not gguf.binding_is_there():
        return not_checked(
            gguf.LlamaCpp.name,
            "llama-cpp-python is not installed on this worker: pip install llama-cpp-python",
        )
    plain = _loaded(found, job, None)
    try:
        by_engine = plain.read(found.texts, job.beat)
    finally:
        plain.close()
    noise = noise_of(found.base, found.batched, by_engine, found.rounded, found.adapter)
    export = _loaded(found, job, target)
    try:
        reading = export.read(found.texts, job.beat)
        said = _answers(export, found, job) if all(map(math.isfinite, reading.nats)) else _silence(found)
    finally:
        export.close()
    reference = Reference(found.base, found.adapter, noise)
    return certify(export.name, found.entries, reference, reading, said)


def _answers(export: Engine, found: Found, job: Job) -> Sequence[str | None]:
    return export.answers(
        [entry.question for entry in found.entries],
        max_new_tokens=found.max_new_tokens,
        batch_size=_BATCH_SIZE,
        on_step=_reporting(found, job),
    )


def _silence(found: Found) -> Sequence[str | None]:
    """Return the answers of a model whose logits are no numbers."""
    return [None] * len(found.entries)


def _reporting(found: Found, job: Job) -> Callable[[int], None]:
    return lambda done: job.on_progress(Progress(done, len(found.entries), "questions"))


def _loaded(found: Found, job: Job, target: Path | None) -> Engine:
    """Load the export, or without one the base model in the same way."""
    if job.form is ExportFormat.MERGED:
        return Transformers(target or found.base_folder, device=found.device)
    if job.form is ExportFormat.GGUF and target is not None:
        return gguf.LlamaCpp(target / GGUF_MODEL, context=found.context, llama=job.llama)
    plain = job.work / "base.gguf"
    if not plain.is_file():
        job.work.mkdir(parents=True, exist_ok=True)
        converter = converters_of(job)[gguf.MODEL]
        gguf.convert_model(converter, found.base_folder, plain, found.dtype, on_step=job.beat)
    return gguf.LlamaCpp(plain, target and target / GGUF_LORA, context=found.context, llama=job.llama)
