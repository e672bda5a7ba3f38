"""Packs an adapter with all that says what it is: tokenizer, ledger, manifest, model card.

The same inputs give the same bytes: nothing is written that was not passed in, but for the
versions of the libraries and the digests of the files. Nothing here loads torch.
"""

import importlib.metadata
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import mixsd
from mixsd.card import render
from mixsd.durable import sha256_of_file, whole_folder
from mixsd.models.check import check_safetensors, read_object

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
LEDGER: Final = "facts.json"
MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"
OUTCOMES: Final = ("already_known", "learned", "not_learned", "no_supervision", "regressed", "skipped")
TOKENIZER: Final = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""Files of a tokenizer, its chat template among them."""
_LIBRARIES: Final = ("peft", "safetensors", "tokenizers", "torch", "transformers")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Base:
    """The model that an adapter belongs to.

    Attributes:
        hub_id: Where others can get it, if they can.
        revision: As in our cache: a commit of the hub only if it looks like one.
    """

    id: str
    hub_id: str | None
    revision: str
    licence: str
    template_sha256: str

    @property
    def name(self) -> str:
        """The id under which others know it."""
        return self.hub_id or self.id

    @property
    def commit(self) -> str | None:
        """The commit of the hub whose weights these are, bit for bit."""
        return self.revision if self.hub_id and _COMMIT.fullmatch(self.revision) else None


@dataclass(frozen=True, slots=True)
class PackagedFile:
    path: str
    sha256: str
    bytes: int


def write_package(
    target: Path,
    *,
    adapter: Path,
    tokenizer: Path,
    base: Base,
    manifest: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    created_at: str,
    general: Sequence[Mapping[str, Any]] = (),
    retired: Sequence[Mapping[str, Any]] | None = None,
) -> list[PackagedFile]:
    """Write the folder `target`, complete or not at all; return its files, by name.

    Args:
        adapter: Folder with the weights and their config, as `peft` saves them.
        tokenizer: Folder of the base model's tokenizer.
        manifest: Settings (`method` with its `type`, `training`, ...), seeds and digests of the run.
            What is found here is added to it.
        results: One verdict for each fact, in order.
        scores: One row for each suite and metric, of base and adapter.
        summary: How supervision and training went.
        created_at: Written into the manifest as it is.
        general: What was said to each question of general knowledge.
        retired: What is known of facts that are no longer taught, if there was a set before.

    Raises:
        UnsafeWeightsError: The weights are no sound safetensors file.
        ModelError: The adapter has no config.
        DiskFullError: There was no room.
    """
    check_safetensors(adapter / WEIGHTS)
    config = _config_of(adapter, base)
    counts = counts_of(results)
    with whole_folder(target, target.with_name(f".{target.name}.partial")) as folder:
        shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
        _write_json(folder / CONFIG, config)
        for name in TOKENIZER:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / name)
        ledger = {"counts": counts, "results": list(results), "general": list(general)}
        if retired is not None:
            ledger["retired"] = list(retired)
        _write_json(folder / LEDGER, ledger)
        (folder / CARD).write_text(
            render(
                base=base.name,
                base_id=base.id,
                commit=base.commit,
                licence=base.licence,
                method=str(manifest.get("method", {}).get("type", "method unknown")),
                counts=counts,
                results=results,
                scores=scores,
                confidence=float(summary.get("confidence", 0.95)),
                gate=summary.get("gate"),
                mistakes=summary.get("mistakes", ()),
            )
        )
        figures = {"counts": counts, "scores": list(scores), "summary": dict(summary)}
        _write_json(
            folder / MANIFEST,
            dict(manifest)
            | {"base_model": asdict(base), "created_at": created_at, "figures": figures}
            | {"files": {file.path: file.sha256 for file in files_in(folder)}, "versions": versions()},
        )
        return files_in(folder)


def counts_of(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many facts there are, and how many ended in each outcome."""
    found = Counter(result["outcome"] for result in results)
    return {"facts": len(results)} | {outcome: found[outcome] for outcome in OUTCOMES}


def _config_of(adapter: Path, base: Base) -> dict[str, Any]:
    """Return the adapter's config with the base named as others know it, not by a path of ours."""
    config = read_object(adapter / CONFIG)
    config |= {"base_model_name_or_path": base.name, "revision": base.commit}
    modules = config.get("target_modules")
    if isinstance(modules, list):  # `peft` writes a set, in any order
        config["target_modules"] = sorted(modules)
    return config


def versions() -> dict[str, str]:
    """Return the versions of MixSD and of the libraries that decide what it makes."""
    found = {"mixsd": mixsd.__version__, "law": str(mixsd.LAW_VERSION)}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "none"
    return found


def files_in(folder: Path) -> list[PackagedFile]:
    """Return the files of a flat folder, by name."""
    paths = sorted(folder.iterdir())
    return [PackagedFile(path.name, sha256_of_file(path), path.stat().st_size) for path in paths]


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")
