"""An adapter of a tiny model, made by the real pipeline, and jobs that export it."""

from datetime import timedelta
from pathlib import Path

from app.adapters.models import Adapter
from app.delivery.creating import create_export
from app.delivery.requests import ExportCreate
from app.exports.models import Export, ExportFile
from app.ids import JobId
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from tests.worker.rig import Rig
from tests.worker.tiny_jobs import MODELS, made, store_of, submitted, with_the_model, work


def export_settings(settings: Settings, folder: Path) -> Settings:
    """Register the model in `folder`, and return settings of a service that has it.

    The lease is long, since a busy machine loads a model slowly; that a runner was killed is seen without it.
    """
    more = {"llama_cpp": folder / "llama.cpp", "lease": timedelta(minutes=5)}
    return with_the_model(settings, folder / "models", **more)


def a_taught_adapter(rig: Rig) -> Adapter:
    job_id = submitted(rig)
    work(rig, job_id)
    return made(rig, job_id)


def asked_for(rig: Rig, adapter: Adapter, form: str = "merged") -> JobId:
    return create_export(
        rig.database,
        project_id=DEFAULT_PROJECT,
        adapter_id=adapter.id,
        request=ExportCreate.model_validate({"format": form}),
        allowed_models=MODELS,
    ).id


def fetched(rig: Rig, export: Export, folder: Path) -> Path:
    """Bring the files of an export into a folder, as a client would."""
    folder.mkdir()
    store = store_of(rig)
    with rig.database.read() as session:
        files = session.query(ExportFile).where(ExportFile.export_id == export.id).all()
    for file in files:
        with store.open(file.sha256) as blob:
            (folder / file.path).write_bytes(blob.read())
    return folder
