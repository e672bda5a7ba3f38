"""Adapters that peft has saved, brought in, then asked and measured by the real pipeline on a tiny model."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from app.adapters.models import AdapterFile
from app.adapters.schemas import AdapterRead
from app.evaluations.models import Evaluation, FactResult
from app.imports.service import Wanted, import_adapter
from app.imports.unpacking import Archive
from app.inference.wire import AskedAdapter
from app.ledger.evaluation_requests import EvaluationCreate
from app.ledger.measuring import create_evaluation
from app.projects.models import DEFAULT_PROJECT
from app.projects.quotas import NONE
from app.settings import Settings
from mixsd.config import LoraConfig
from mixsd.errors import ModelError
from mixsd.models.load import Base, load_base
from mixsd.training import lora
from tests.factories import a_fact_set
from tests.fixtures.tiny import register_tiny
from tests.worker.rig import Rig
from tests.worker.tiny_jobs import MODEL, MODELS, store_of, with_the_model, work
from worker.inference.models import Room

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_the_model(settings, tmp_path / "models")


@pytest.fixture
def base(settings: Settings, tmp_path: Path) -> Base:
    return load_base(register_tiny(tmp_path / "again"), device="cpu")


@pytest.fixture(params=["plain", "rslora", "dora", "F64"])
def saved(request: pytest.FixtureRequest, base: Base, tmp_path: Path) -> Path:
    """The folder of an adapter that changes what the model says."""
    kind: dict[str, Any] = {request.param: True} if request.param in {"rslora", "dora"} else {}
    model = lora.attach(base, LoraConfig(rank=4, alpha=8, **kind), seed=1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if "lora_B" in path:
                weight.copy_(torch.randn(weight.shape, generator=noise) * 0.3)
    folder = tmp_path / "saved"
    folder.mkdir()
    lora.save_adapter(model, folder)
    lora.detach(model)
    if request.param == "F64":
        doubled = {name: weight.double() for name, weight in load_file(folder / lora.WEIGHTS).items()}
        save_file(doubled, folder / lora.WEIGHTS)
    return folder


def brought_in(rig: Rig, folder: Path) -> AdapterRead:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, "adapter")
    return import_adapter(
        rig.database,
        store_of(rig),
        packed,
        Archive.TAR_GZ,
        Wanted(MODEL),
        project_id=DEFAULT_PROJECT,
        cache=rig.settings.model_cache,
        allowed=MODELS,
        most_bytes=10_000_000,
        defaults=NONE,
    )


def test_an_import_is_asked_with_the_weights_that_came(rig: Rig, saved: Path) -> None:
    adapter = brought_in(rig, saved)
    with rig.database.read() as session:
        rows = session.execute(select(AdapterFile.path, AdapterFile.sha256)).all()
    asked = AskedAdapter(
        id=adapter.id,
        base_model=adapter.base_model,
        base_revision=adapter.base_revision,
        files={path: sha256 for path, sha256 in rows},  # noqa: C416  rows are no pairs
    )
    room = Room(rig.settings, store_of(rig))

    key = room.load(asked, set())

    with room.using(key) as model:
        there = {name: weight for name, weight in model.state_dict().items() if "lora_" in name}
        sent = load_file(saved / lora.WEIGHTS)
        assert len(there) == len(sent)
        for name, weight in sent.items():
            (found,) = [
                w
                for n, w in there.items()
                if n.replace(".a0", "").replace(".weight", "") == name.replace(".weight", "")
            ]
            assert torch.equal(found, weight.to(found.dtype))
    room.unload()


def test_an_import_is_measured_as_any_other(rig: Rig, saved: Path) -> None:
    adapter = brought_in(rig, saved)
    facts = a_fact_set(rig.database, n=2)
    body = EvaluationCreate.model_validate(
        {
            "adapter_id": adapter.id,
            "fact_set_id": facts.id,
            "evaluation": {"max_new_tokens": 4, "general": False, "bootstrap": 100},
        }
    )
    job = create_evaluation(rig.database, project_id=DEFAULT_PROJECT, request=body, allowed_models=MODELS)

    work(rig, job.id)

    (evaluation,) = rig.rows(Evaluation, job.id)
    assert evaluation.adapter_id == adapter.id
    with rig.database.read() as session:
        assert len(session.scalars(select(FactResult)).all()) == 2


@pytest.mark.parametrize("saved", ["plain"], indirect=True)
def test_what_does_not_fit_after_all_is_said_to_be_no_adapter_of_the_model(base: Base, saved: Path) -> None:
    config = (saved / lora.CONFIG).read_text()
    (saved / lora.CONFIG).write_text(config.replace('"r": 4', '"r": 2'))

    with pytest.raises(ModelError, match="does not fit tiny/random"):
        lora.load_adapter(base, saved)
