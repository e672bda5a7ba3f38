"""Merged exports of the tiny model, in the type of its base, and what is found out about them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixsd.config import LoraConfig
from mixsd.errors import ModelError, TemplateMismatchError
from mixsd.exports import making
from mixsd.exports.making import ExportFormat, Found, Job
from mixsd.exports.package import finish_package
from mixsd.exports.parity import Certificate
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk
from mixsd.packaging import MANIFEST, WEIGHTS
from tests.fixtures.tiny import register_tiny
from tests.mixsd.exports.packed import a_package

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def a_base(cache: Path, dtype: str) -> Base:
    """The tiny model with weights of this type on disk; in memory they are float32."""
    found = register_tiny(cache)
    if dtype != "float32":
        model = AutoModelForCausalLM.from_pretrained(found.folder, dtype=DTYPES[dtype])
        model.save_pretrained(found.folder)
    return load_base(found, device="cpu")


class World:
    """An adapter, the folder that its export is written into, and what was found out before."""

    def __init__(self, tmp_path: Path, dtype: str = "float32", **package: Any) -> None:
        self.base = a_base(tmp_path / "models", dtype)
        self.package = a_package(self.base, tmp_path / "adapter", **package)
        self.target = tmp_path / "export"
        self.target.mkdir()
        self.job = Job(self.package, ExportFormat.MERGED, tmp_path / "work")

    def written(self) -> Found:
        model, found = making.observe(self.base, self.job)
        making.write(self.base, model, self.job, self.target)
        return found

    def checked(self) -> Certificate:
        return making.check(self.written(), self.job, self.target)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_model_says_what_the_adapter_says(tmp_path: Path, dtype: str) -> None:
    world = World(tmp_path, dtype)

    certificate = world.checked()

    assert (certificate.status, certificate.reasons) == ("passed", ())
    assert certificate.applied is True
    assert (certificate.asked, certificate.right, certificate.facts_changed) == (3, 3, ())
    assert certificate.noise is not None
    assert certificate.distance is not None
    assert certificate.distance <= 2 * certificate.noise.floor
    assert certificate.shift is not None
    assert certificate.shift > 5 * certificate.distance


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_have_the_type_of_the_base_and_load_with_nothing_else(tmp_path: Path, dtype: str) -> None:
    world = World(tmp_path, dtype)
    world.written()

    with safe_open(world.target / "model.safetensors", framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {DTYPES[dtype]}
    model = AutoModelForCausalLM.from_pretrained(world.target)
    assert model.dtype == DTYPES[dtype]
    assert model.generation_config.eos_token_id is not None
    tokenizer = AutoTokenizer.from_pretrained(world.target)
    assert tokenizer.chat_template == world.base.chat.tokenizer.chat_template


def test_dora_and_scaling_by_the_root_of_the_rank_merge_as_well(tmp_path: Path) -> None:
    for number, config in enumerate((LoraConfig(rank=4, dora=True), LoraConfig(rank=4, rslora=True))):
        world = World(tmp_path / str(number), config=config)

        assert world.checked().status == "passed"


def unmerged(target: Path, base: Path) -> None:
    """What was written is the base model: the adapter was lost on the way."""
    (target / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())


def half_merged(target: Path, base: Path) -> None:
    """Every layer but one has lost its part of the adapter."""
    merged, plain = load_file(target / "model.safetensors"), load_file(base / "model.safetensors")
    kept = next(name for name in merged if "down_proj" in name)
    save_file({**plain, kept: merged[kept]}, target / "model.safetensors", metadata={"format": "pt"})


def merged_twice(target: Path, base: Path) -> None:
    merged, plain = load_file(target / "model.safetensors"), load_file(base / "model.safetensors")
    twice = {name: 2 * weight - plain[name] for name, weight in merged.items()}
    save_file(twice, target / "model.safetensors", metadata={"format": "pt"})


def with_another_template(target: Path, base: Path) -> None:
    template = (target / "chat_template.jinja").read_text()
    (target / "chat_template.jinja").write_text(template.replace("assistant", "Nobody says"))


@pytest.mark.parametrize(
    "broken", [unmerged, half_merged, merged_twice], ids=["unmerged", "half merged", "merged twice"]
)
def test_an_export_whose_merge_is_broken_fails(tmp_path: Path, broken: Callable[[Path, Path], None]) -> None:
    world = World(tmp_path)
    found = world.written()
    broken(world.target, world.base.folder)

    certificate = making.check(found, world.job, world.target)

    assert certificate.status == "failed"
    assert any("log-probabilities" in reason for reason in certificate.reasons)


def test_an_export_without_its_adapter_is_told_as_such_with_the_facts_that_it_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.written()
    unmerged(world.target, world.base.folder)

    certificate = making.check(found, world.job, world.target)

    assert certificate.applied is False
    assert "not applied" in certificate.reasons[0]
    assert certificate.facts_changed
    assert {change.fact_key for change in certificate.changes} >= set(certificate.facts_changed)
    assert certificate.right < certificate.right_before == 3
    json.dumps(certificate.to_json(), allow_nan=False)


def test_an_export_with_another_template_gives_other_answers(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.written()
    with_another_template(world.target, world.base.folder)

    certificate = making.check(found, world.job, world.target)

    assert certificate.status == "failed"
    assert certificate.facts_changed


def test_weights_that_are_no_numbers_fail(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.written()
    weights = load_file(world.target / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, world.target / "model.safetensors", metadata={"format": "pt"})

    certificate = making.check(found, world.job, world.target)

    assert certificate.status == "failed"
    json.dumps(certificate.to_json(), allow_nan=False)


def test_an_adapter_that_changes_nothing_is_neither_applied_nor_not(tmp_path: Path) -> None:
    certificate = World(tmp_path, strength=0.0).checked()

    assert (certificate.status, certificate.applied) == ("passed", None)


def test_an_adapter_of_another_base_or_template_is_not_exported(tmp_path: Path) -> None:
    world = World(tmp_path)
    manifest = json.loads((world.package / MANIFEST).read_text())
    for change, error in (
        ({"revision": "r9"}, ModelError),
        ({"template_sha256": "0"}, TemplateMismatchError),
    ):
        said = manifest | {"base_model": manifest["base_model"] | change}
        (world.package / MANIFEST).write_text(json.dumps(said))

        with pytest.raises(error):
            making.observe(world.base, world.job)


def test_an_export_is_packed_with_card_ledger_and_the_digest_of_each_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.written()
    parity = making.check(found, world.job, world.target).to_json()

    files = finish_package(
        world.target,
        package=world.package,
        adapter={"id": "adp_1", "sha256": "0" * 64},
        form="merged",
        dtype="float32",
        parity=parity,
        created_at="2026-11-24T10:00:00+00:00",
    )

    manifest = json.loads((world.target / MANIFEST).read_text())
    assert manifest["files"] == {file.path: file.sha256 for file in files if file.path != MANIFEST}
    assert {"README.md", "facts.json", "config.json", "chat_template.jinja"} <= manifest["files"].keys()
    assert WEIGHTS not in manifest["files"]
    assert manifest["parity"]["status"] == "passed"
    assert manifest["base_model"]["template_sha256"] == world.base.template_sha256
    card = (world.target / "README.md").read_text()
    assert card.startswith("---\nbase_model: ")
    assert "it answers 3 of 3 questions" in card
    again = load_base(OnDisk("x/y", "r", world.target, {}), device="cpu")
    assert again.template_sha256 == world.base.template_sha256
