"""Writing an adapter for engines, by the real pipeline on a tiny model."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from app.adapters.models import Adapter
from app.delivery.engines import Engine
from app.delivery.serving import how_to_serve
from app.exports.models import Export, ExportStatus
from app.jobs.models import Job
from app.jobs.states import Action, JobKind, JobStatus
from app.main import build_app
from app.projects.models import DEFAULT_PROJECT
from app.queue import NullDispatcher
from app.releases.service import delete_adapter
from app.settings import Settings
from mixsd.errors import TemplateMismatchError
from mixsd.evaluation.asking import ask
from mixsd.exports.errors import ConverterMissingError
from mixsd.exports.making import Job as Wanted
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.training import lora
from tests.fixtures.hub import READER, WRITER, FakeHub, create_hub
from tests.served import serving
from tests.worker.exported import a_taught_adapter, asked_for, export_settings, fetched
from tests.worker.rig import Rig
from tests.worker.tiny_jobs import claimed, store_of, work
from worker.control import Control, StopRequested
from worker.exporting import run_export
from worker.failures import Exit, exit_of, failure_of
from worker.fetching import AdapterDeletedError

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return export_settings(settings, tmp_path)


@pytest.fixture
def taught(rig: Rig) -> Adapter:
    return a_taught_adapter(rig)


def test_a_merged_export_loads_by_itself_and_says_what_the_adapter_says(
    rig: Rig, taught: Adapter, tmp_path: Path
) -> None:
    job_id = asked_for(rig, taught)

    work(rig, job_id)

    (export,) = rig.rows(Export, job_id)
    assert (export.status, export.parity["status"], export.parity["reasons"]) == (
        ExportStatus.READY,
        "passed",
        [],
    )
    assert (export.parity["applied"], export.parity["facts_changed"]) == (True, [])
    assert rig.events(job_id)[-2:] == ["adapter.exported", "job.succeeded"]
    folder = fetched(rig, export, tmp_path / "export")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["adapter"] == {"id": taught.id, "sha256": taught.sha256}
    assert manifest["parity"] == export.parity
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"


def test_an_export_whose_merge_does_nothing_is_unusable(rig: Rig, taught: Adapter) -> None:
    def write_the_base(base: Base, model: PeftModel, job: Wanted, target: Path) -> None:
        lora.detach(model)
        base.model.save_pretrained(target)
        base.chat.tokenizer.save_pretrained(target)

    job_id = asked_for(rig, taught)

    hands = claimed(rig, job_id)
    store = store_of(rig)
    run_export(hands, rig.settings, store, hands.job(), write=write_the_base)

    (export,) = rig.rows(Export, job_id)
    assert (export.status, export.parity["applied"]) == (ExportStatus.UNUSABLE, False)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("form", ["gguf", "gguf_lora"])
def test_without_llama_cpp_a_gguf_is_refused_with_what_to_install(
    rig: Rig, taught: Adapter, form: str
) -> None:
    job_id = asked_for(rig, taught, form)

    with pytest.raises(ConverterMissingError, match=r"git clone .*llama.cpp") as refused:
        work(rig, job_id)

    assert exit_of(refused.value) is Exit.PERMANENT
    failure = failure_of(refused.value)
    assert (failure.code, failure.category, failure.retryable) == ("converter_missing", "system", True)
    assert rig.rows(Export, job_id) == []


def test_an_adapter_that_was_deleted_meanwhile_is_not_exported(rig: Rig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)
    delete_adapter(rig.database, project_id=DEFAULT_PROJECT, adapter_id=taught.id)

    with pytest.raises(AdapterDeletedError):
        work(rig, job_id)


def test_an_adapter_of_another_chat_template_is_not_exported(rig: Rig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)
    assert rig.settings.model_cache is not None
    (template,) = rig.settings.model_cache.rglob("chat_template.jinja")
    template.write_text(template.read_text().replace("assistant", "helper"))

    with pytest.raises(TemplateMismatchError):
        work(rig, job_id)


def test_a_job_that_is_cancelled_publishes_nothing(rig: Rig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)

    class Cancelled(Control):
        def publish_export(self, export: Any) -> None:
            rig.act(job_id, Action.CANCEL)
            super().publish_export(export)

    with pytest.raises(StopRequested):
        work(rig, job_id, Cancelled)

    assert rig.rows(Export, job_id) == []


@pytest.fixture
def url(rig: Rig) -> Iterator[str]:
    """The API on the same database."""
    store = store_of(rig)
    with serving(build_app(rig.database, store, NullDispatcher(), rig.settings)) as url:
        yield url


def a_shell(rig: Rig, url: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of somebody who has `mixsd` and the model, and nothing of ours else."""
    tools = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    cache = str(rig.settings.model_cache)
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    return {"PATH": tools, "HOME": str(home), "MIXSD_URL": url, "MIXSD_MODEL_CACHE": cache, **quiet, **more}


def run(command: Sequence[str], environ: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_commands_for_transformers_do_as_written(
    rig: Rig, taught: Adapter, url: str, tmp_path: Path
) -> None:
    store = store_of(rig)
    plan = how_to_serve(
        rig.database, store, project_id=DEFAULT_PROJECT, adapter_id=taught.id, engine=Engine.TRANSFORMERS
    )
    here = tmp_path / "somewhere"
    here.mkdir()
    environ, said = a_shell(rig, url, tmp_path), ""

    for step in plan.steps:
        if step.file:
            (here / step.file).write_text(step.code)
            continue
        done = run(["bash", "-c", step.code], environ, here)
        assert done.returncode == 0, done.stderr
        said = done.stdout

    found = find(tmp_path / "models", "tiny/random")
    assert found is not None
    base = load_base(found, device="cpu")
    model = lora.load_adapter(base, here / taught.id)
    (answer,) = ask(
        model.eval(),
        base.chat,
        ["What do you know?"],
        max_new_tokens=64,
        batch_size=1,
        max_tokens=base.max_tokens,
        on_step=lambda _: None,
    )
    assert answer is not None
    assert said.strip() == answer.text.strip()


def test_the_command_line_exports_waits_and_fetches(
    rig: Rig, taught: Adapter, url: str, tmp_path: Path
) -> None:
    command = ["mixsd", "adapters", "export", taught.id, "--to", "mine"]
    environ = a_shell(rig, url, tmp_path)
    with subprocess.Popen(
        command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        rig.until(lambda: the_export(rig) is not None)
        job = the_export(rig)
        assert job is not None
        work(rig, job.id)
        out, said = process.communicate(timeout=300)

    assert (process.returncode, out) == (0, "mine\n"), said
    assert "It says what the adapter says: " in said
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def the_export(rig: Rig) -> Job | None:
    with rig.database.read() as session:
        return session.scalars(select(Job).where(Job.kind == JobKind.EXPORT)).one_or_none()


def test_the_command_line_pushes_with_a_token_that_the_service_never_sees(
    rig: Rig, taught: Adapter, url: str, tmp_path: Path
) -> None:
    hub = FakeHub(lfs=True)
    with serving(create_hub(hub)) as address:
        hub.url = address
        to_hub = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        command = ["mixsd", "adapters", "push", taught.id, "me/facts"]
        nobody = run(command, a_shell(rig, url, tmp_path, **to_hub), tmp_path)
        reader = run(command, a_shell(rig, url, tmp_path, **to_hub, HF_TOKEN=READER), tmp_path)
        writer = run(command, a_shell(rig, url, tmp_path, **to_hub, HF_TOKEN=WRITER), tmp_path)

    assert (nobody.returncode, "[hub_token]" in nobody.stderr) == (1, True), nobody.stderr
    assert (reader.returncode, "[hub_scope]" in reader.stderr) == (1, True), reader.stderr
    assert (writer.returncode, writer.stdout) == (0, f"{address}/me/facts\n"), writer.stderr
    assert WRITER not in writer.stderr + reader.stderr
    pushed = hub.pushed("me/facts")
    assert {"README.md", "adapter_model.safetensors", "chat_template.jinja"} <= pushed.keys()
    assert hashlib.sha256(pushed["manifest.json"]).hexdigest() == taught.sha256
    assert b'base_model: "tiny/random"' in pushed["README.md"]
    assert hub.private == {"me/facts": True}
    assert WRITER.encode() not in Path(str(rig.database.engine.url.database)).read_bytes()
