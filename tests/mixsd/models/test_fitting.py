"""Adapters and the base models that they are loaded on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixsd.config import LoraConfig
from mixsd.errors import ModelError, TemplateMismatchError
from mixsd.models.fitting import check_base, check_template
from mixsd.models.load import Base
from mixsd.packaging import MANIFEST
from mixsd.training import lora

OTHER = "ab" * 32


def a_manifest(base: Base, **changes: Any) -> dict[str, Any]:
    said = {"id": base.id, "revision": base.revision, "template_sha256": base.template_sha256}
    return {"base_model": said | changes}


def test_an_adapter_is_taken_by_the_base_model_that_it_was_made_for(base: Base) -> None:
    check_base(a_manifest(base), base)


def test_an_older_manifest_that_names_no_template_is_taken(base: Base) -> None:
    manifest = a_manifest(base)
    del manifest["base_model"]["template_sha256"]

    check_base(manifest, base)
    check_template({}, base)


@pytest.mark.parametrize("check", [check_base, check_template], ids=["all of it", "the template"])
def test_another_chat_template_is_refused_and_both_are_named(base: Base, check: Callable[..., None]) -> None:
    with pytest.raises(TemplateMismatchError) as refused:
        check(a_manifest(base, template_sha256=OTHER), base)

    assert OTHER in str(refused.value)
    assert base.template_sha256 in str(refused.value)
    assert refused.value.code == "template_mismatch"


@pytest.mark.parametrize("change", [{"id": "x/y"}, {"revision": "r2"}], ids=["id", "revision"])
def test_another_base_model_is_refused(base: Base, change: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="another base model") as refused:
        check_base(a_manifest(base, **change), base)

    assert not isinstance(refused.value, TemplateMismatchError)


def test_the_library_loads_no_adapter_of_another_chat_template(base: Base, tmp_path: Path) -> None:
    model = lora.attach(base, LoraConfig(rank=4), seed=0)
    lora.save_adapter(model, tmp_path)
    lora.detach(model)

    for said, taken in ((base.template_sha256, True), (OTHER, False)):
        (tmp_path / MANIFEST).write_text(json.dumps(a_manifest(base, template_sha256=said)))
        if taken:
            lora.detach(lora.load_adapter(base, tmp_path))
            continue
        with pytest.raises(TemplateMismatchError):
            lora.load_adapter(base, tmp_path)
