"""A job that writes an adapter in a form that engines take, and checks what it has written."""

import gc
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from peft import PeftModel

from app.jobs.models import Job
from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore
from mixsd.exports import making
from mixsd.exports.making import ExportFormat, Found
from mixsd.exports.making import Job as Wanted
from mixsd.exports.package import finish_package
from mixsd.models.load import Base
from mixsd.packaging import LEDGER, MANIFEST
from mixsd.progress import Progress
from worker.control import Control
from worker.fetching import NEEDED, fetch_adapter
from worker.preparing import load
from worker.publication import ExportPublication, PublishedFile
from worker.variants import Reporter

_STEPS: Final = 2

Write = Callable[[Base, PeftModel, Wanted, Path], None]


def run_export(
    control: Control, settings: Settings, store: ArtifactStore, job: Job, write: Write = making.write
) -> None:
    """Take a job from its beginning to a published export. It is short, so nothing is kept on the way.

    Args:
        write: Writes the files of the export.

    Raises:
        ConverterMissingError: GGUF was asked for, and llama.cpp is not on this machine.
        ConversionError: llama.cpp does not know the model.
        AdapterDeletedError: There is no adapter any more.
        ModelError: Its base model cannot be had any more, or has another chat template.
    """
    form = ExportFormat((job.export or {})["format"])
    folder = control.folder / f"fence-{control.fence}"
    package, target = folder / "adapter", folder / "export"
    _forget_earlier(control)
    target.mkdir(parents=True)
    wanted = Wanted(package, form, folder / "work", settings.llama_cpp, on_progress=control.safe_point)
    making.converters_of(wanted)

    names = (*NEEDED, MANIFEST, LEDGER)
    control.enter(Phase.PREPARING, _STEPS, "steps")
    what = f"the adapter {job.adapter_id}"
    adapter = fetch_adapter(store, control.files_of(job.adapter_id), package, what, needed=names)
    base = load(control, settings, job)
    control.note_device(base.model.device.type)
    model, found = making.observe(base, wanted)
    control.leave(Phase.PREPARING)

    control.enter(Phase.PACKAGING, _STEPS, "steps")
    with control.expendable():
        write(base, model, wanted, target)
    control.progress(Phase.PACKAGING, 1, _STEPS, "steps")
    del base, model
    gc.collect()
    control.leave(Phase.PACKAGING)

    _publish(
        control,
        store,
        wanted,
        found,
        target,
        adapter={"id": job.adapter_id, "sha256": adapter[MANIFEST]},
        created_at=job.created_at.isoformat(),
    )


def _publish(
    control: Control,
    store: ArtifactStore,
    wanted: Wanted,
    found: Found,
    target: Path,
    *,
    adapter: Mapping[str, object],
    created_at: str,
) -> None:
    """Check what was written, describe it, and end the job with it."""
    parity = _checked(control, found, wanted, target)
    files = finish_package(
        target,
        package=wanted.package,
        adapter=adapter,
        form=str(wanted.form),
        dtype=_name_of(found),
        parity=parity,
        created_at=created_at,
    )
    published = [_stored(control, store, target, file.path) for file in files]
    control.publish_export(
        ExportPublication(
            format=str(wanted.form),
            dtype=_name_of(found),
            sha256=next(file.sha256 for file in published if file.path == MANIFEST),
            parity=parity,
            files=published,
        )
    )


def _stored(control: Control, store: ArtifactStore, target: Path, path: str) -> PublishedFile:
    control.safe_point()
    blob = store.put(target / path)
    control.crash_point("packaging.after_file")
    return PublishedFile(path, blob.sha256, blob.bytes)


def _forget_earlier(control: Control) -> None:
    """Delete what attempts before this one left behind: a whole model each. Later ones are left alone."""
    for folder in control.folder.glob("fence-*"):
        if int(folder.name.removeprefix("fence-")) <= control.fence:
            shutil.rmtree(folder, ignore_errors=True)


def _checked(control: Control, found: Found, wanted: Wanted, target: Path) -> dict[str, object]:
    questions = len(found.entries)
    control.enter(Phase.EVALUATING, questions, "questions")
    report = Reporter(control, Phase.EVALUATING)

    def tell(progress: Progress) -> None:
        report(Progress(progress.done, questions, "questions"))

    asking = replace(wanted, on_progress=tell)
    certificate = making.check(found, asking, target)
    control.leave(Phase.EVALUATING)
    return certificate.to_json()


def _name_of(found: Found) -> str:
    return str(found.dtype).removeprefix("torch.")
