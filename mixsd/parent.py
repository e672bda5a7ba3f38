"""Adapters on disk to start from: read, and checked against the run. Loads no torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from mixsd.durable import sha256_of_file
from mixsd.errors import ConfigError, ModelError
from mixsd.facts import Fact, sha256_of
from mixsd.living import Living, Parent, compare
from mixsd.models.check import read_object
from mixsd.packaging import CONFIG, MANIFEST, WEIGHTS
from mixsd.supervision import Supervision

SHAPE: Final = ("rank", "alpha", "target_modules", "dora", "rslora")
"""Settings of training that are those of the parent."""


class Named(Protocol):
    """A base model, by what tells it from others."""

    @property
    def id(self) -> str: ...
    @property
    def revision(self) -> str: ...


def parent_of(
    folder: Path,
    base: Named,
    facts: Sequence[Fact],
    previous: Sequence[Fact],
    texts: Sequence[Supervision] = (),
) -> Parent:
    """Return the parent of a run.

    Args:
        folder: The adapter: its weights and config, and the manifest if it was packed.
        base: The base model of the run.
        facts: Those of the run.
        previous: Those that the adapter was taught.
        texts: What it was trained on, as far as that is kept.

    Raises:
        ConfigError: It belongs to another base model, was taught other facts, or was not trained.
        ModelError: It is no adapter.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no adapter: it has no {name}")
    manifest = manifest_in(folder)
    made_of = manifest.get("base_model", {})
    if manifest and (made_of.get("id"), made_of.get("revision")) != (base.id, base.revision):
        raise ConfigError(
            f"the parent is an adapter of {made_of.get('id')} at {made_of.get('revision')}, and this run is "
            f"of {base.id} at {base.revision}: take that base model, or train without a parent"
        )
    method: Mapping[str, Any] = manifest.get("method", {})
    if method.get("type") == "memit":
        raise ConfigError(
            "the parent was made by memit, which edits weights of some layers: nothing can be trained from "
            "there. Take one that was trained, or train without a parent"
        )
    digest = sha256_of(previous)
    taught = manifest.get("facts", {}).get("sha256", digest)
    if taught != digest:
        raise ConfigError(
            "the parent was taught other facts than those given as the previous ones: give the very file "
            "that it was made of"
        )
    weights = sha256_of_file(folder / WEIGHTS)
    return Parent(Living(folder, weights, digest, compare(previous, facts)), texts, method)


def manifest_in(folder: Path) -> dict[str, Any]:
    """Return the manifest of an adapter; empty if it was not packed."""
    return read_object(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}


def shaped(training: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of training with what they leave open of the shape as the parent has it."""
    shape = manifest.get("training", {}).get("lora", {})
    return {name: shape[name] for name in SHAPE if name in shape} | dict(training)


def texts_beside(folder: Path, name: str) -> list[Supervision]:
    """Return what an adapter was trained on, if it lies in the folder of its run."""
    file = folder.resolve().parent / name
    if not file.is_file():
        return []
    lines = file.read_bytes().split(b"\n")
    return [Supervision.from_json(json.loads(line)) for line in lines if line]
