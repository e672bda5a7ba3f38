"""Clients that were not written for it, and the command line, on a service that runs."""

import importlib
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.api.training import polling_on
from mixsd.cli import cli
from tests.e2e.service import EVALUATION, FACTS, METHOD, TRAINING, Service

ROOT = Path(__file__).parents[2]
PACKAGE = "generated_mixsd_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds a client which was made from `openapi.json` just now."""
    folder = tmp_path_factory.mktemp("client")
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    command = [program, "generate", "--path", str(ROOT / "openapi.json"), "--meta", "none"]
    command += ["--output-path", str(folder / PACKAGE), "--config", str(ROOT / "tests/clients/python.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return folder


def test_a_generated_client_goes_the_whole_way(
    generated: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(generated))
    models: Any = importlib.import_module(f"{PACKAGE}.models")
    with importlib.import_module(PACKAGE).Client(base_url=service.url, timeout=300.0) as client:
        _go_the_whole_way(models, client)


def _go_the_whole_way(models: Any, client: Any) -> None:
    def call(name: str, *path: str, **rest: Any) -> Any:
        module = importlib.import_module(f"{PACKAGE}.api.{name}")
        return module.sync(*path, client=client, **rest)

    facts = [models.Fact(question=fact["question"], answer=fact["answer"]) for fact in FACTS[:2]]
    stored = call("fact_sets.create_fact_set", body=models.FactSetCreate(facts=facts, name="generated"))
    assert isinstance(stored, models.FactSetCreated)
    asked = models.JobCreate(
        base_model="tiny/random",
        fact_set_id=stored.id,
        priority=10,
        method=models.SftMethod(type_="sft"),
        training=models.TrainingOptions.from_dict({**TRAINING, "epochs": 1}),
        evaluation=models.EvaluationOptions(max_new_tokens=4, general=False, drift=False),
    )
    job = call("jobs.create_job", body=asked, idempotency_key="one-of-mine")
    again = call("jobs.create_job", body=asked, idempotency_key="one-of-mine")
    assert again.id == job.id
    deadline = time.monotonic() + 400
    while not job.terminal:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        job = call("jobs.get_job", job.id)
    assert job.status == models.JobStatus.SUCCEEDED

    verdicts = call("ledger.list_job_facts", job.id)
    events = call("jobs.list_job_events", job.id, limit=100)
    report = call("reports.get_job_report", job.id)
    archive = call("adapters.download_adapter", job.adapter_id)
    missing = call("jobs.get_job", "job_0")

    assert [result.question for result in verdicts.data] == [fact.question for fact in facts]
    assert events.data[-1].type_ == "job.succeeded"
    assert report.counts.facts == 2
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert "adapter/adapter_model.safetensors" in tar.getnames()
    assert (missing.status, missing.code) == (404, "job_not_found")


def run(service: Service, *words: str) -> Result:
    return CliRunner().invoke(cli, list(words), env={"MIXSD_URL": service.url})


def test_the_command_line_goes_the_whole_way(service: Service, tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in FACTS[:2]))
    config = {
        "method": METHOD,
        "training": {**TRAINING, "epochs": 1},
        "evaluation": EVALUATION | {"drift": False},
    }
    (tmp_path / "job.json").write_text(json.dumps(config))
    words = [str(tmp_path / "facts.jsonl"), "--config", str(tmp_path / "job.json"), "--model", "tiny/random"]
    words += ["--set", "method.max_attempts=1", "--priority", "9"]

    submitted = run(service, "jobs", "submit", *words)
    job_id = submitted.stdout.strip()
    watched = run(service, "jobs", "watch", job_id, "--json")
    events = run(service, "jobs", "events", job_id, "--follow", "--json").stdout.splitlines()
    report = run(service, "jobs", "report", job_id, "--out", str(tmp_path / "report.md"))
    pulled = run(service, "adapters", "pull", job_id, "--to", str(tmp_path / "adapter"))
    asked = run(service, "adapters", "try", job_id, "Who?", "--max-new-tokens", "4", "--stream", "--json")

    assert submitted.exit_code == 0, submitted.stderr
    assert "2 facts are stored as fset_" in submitted.stderr
    for said in ("training", "work: 2 facts, 10 texts, 1 step on cpu", "memory: ", "queue: "):
        assert said in submitted.stderr
    assert watched.exit_code == 0, watched.stderr
    job = json.loads(watched.stdout)
    assert (job["id"], job["status"], job["method"]["max_attempts"]) == (job_id, "succeeded", 1)
    assert [json.loads(line)["seq"] for line in events] == list(range(1, len(events) + 1))
    assert json.loads(events[-1])["type"] == "job.succeeded"
    assert report.exit_code == 0, report.stderr
    assert (tmp_path / "report.md").read_text().startswith("# Report: ")
    assert pulled.exit_code == 0, pulled.stderr
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert asked.exit_code == 0, asked.stderr
    whole = [line for line in map(json.loads, asked.stdout.splitlines()) if line["type"] == "answer"]
    assert {line["of"] for line in whole} == {"adapter", "base"}
    assert all(0 < line["tokens"] <= 4 for line in whole)


def test_the_command_line_reads_what_a_job_has_made(
    service: Service, undisturbed: str, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"

    facts = run(service, "jobs", "facts", undisturbed, "--json").stdout.splitlines()
    report = run(service, "jobs", "report", undisturbed).stdout
    pulled = run(service, "adapters", "pull", undisturbed, "--to", str(folder))
    listed = run(service, "adapters", "list", "--job", undisturbed, "--json").stdout
    refused = run(service, "jobs", "pause", undisturbed)

    assert [json.loads(line)["key"] for line in facts] == [fact["key"] for fact in FACTS]
    assert f"{len(FACTS)} facts:" in report
    assert pulled.exit_code == 0, pulled.stderr
    files = service.read(f"/adapters/{json.loads(listed)['id']}/files")["data"]
    assert {path.name for path in folder.iterdir()} == {file["path"] for file in files}
    assert (refused.exit_code, "illegal_transition" in refused.stderr) == (2, True)


def test_polls_are_measured_while_a_job_trains(service: Service) -> None:
    found = polling_on(service, seconds=0.3)

    assert set(found) == {"polling_p50_ms", "polling_p99_ms", "polling_per_s"}
    assert found["polling_per_s"] > 0
