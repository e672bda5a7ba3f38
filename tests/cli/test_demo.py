import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.cli.client import ServiceError
from mixsd.cli.demo import fresh_folder, next_steps, unpack
from tests.cli.fake_service import FakeService, an_archive, running


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.jsonl"
    lines = [
        {"key": key, "question": f"Who is the mayor of {key}?", "answer": f"Oda {key}"}
        for key in ("ebra", "tolm")
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run_demo(url: str, facts: Path, *more: str) -> Result:
    data = facts.with_name("demo")
    return CliRunner().invoke(cli, ["demo", "--url", url, "--facts", str(facts), "--data", str(data), *more])


def test_the_demo_sends_the_facts_as_one_job_and_reports_every_fact(facts: Path) -> None:
    fake = FakeService()

    with running(fake) as url:
        result = run_demo(url, facts)

    assert result.exit_code == 0, result.stderr
    (request,) = fake.requests
    assert [fact["key"] for fact in request["facts"]] == ["ebra", "tolm"]
    assert request["base_model"] == "smollm2-135m-instruct"
    assert request["method"] == {"type": "mixsd"}
    assert "Who is the mayor of ebra?" in result.stdout
    assert "Who is the mayor of tolm?" in result.stdout
    assert "job_1 is succeeded" in result.stderr
    assert "training: 2/4 steps" in result.stderr


def test_the_demo_leaves_the_adapter_unpacked_and_says_where(facts: Path) -> None:
    with running(FakeService()) as url:
        result = run_demo(url, facts)

    adapter = facts.with_name("demo") / "adapter"
    assert (
        adapter / "adapter_model.safetensors"
    ).read_text() == "content of adapter/adapter_model.safetensors"
    assert f"The adapter lies in {adapter}" in result.stdout
    assert not list(adapter.parent.glob("*.partial"))


def test_the_demo_fails_with_the_jobs_error(facts: Path) -> None:
    with running(FakeService(fails="not one fact got a text")) as url:
        result = run_demo(url, facts)

    assert result.exit_code == 1
    assert "mixsd demo: job job_1 is failed: not one fact got a text [no_supervision]" in result.stderr
    assert "The adapter lies in" not in result.stdout


def test_a_refusal_is_one_line_with_its_code(facts: Path) -> None:
    with running(FakeService()) as url:
        result = run_demo(url, facts, "--model", "unknown")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "mixsd demo: POST /jobs answered 422 [model_not_allowed]: 'unknown' is no model id"
    )


def test_bad_facts_are_named_with_their_lines_before_anything_starts(facts: Path) -> None:
    facts.write_text('{"question": "Who?"}\n')

    result = run_demo("http://127.0.0.1:9", facts)

    assert result.exit_code == 1
    assert "line 1" in result.stderr
    assert not facts.with_name("demo").exists()


def test_ending_the_demo_cancels_its_job(facts: Path) -> None:
    fake = FakeService()
    fake.polls = -1000  # stays queued
    command = [sys.executable, "-m", "mixsd", "demo", "--facts", str(facts)]

    with (
        running(fake) as url,
        subprocess.Popen([*command, "--url", url, "--data", str(facts.with_name("demo"))]) as process,
    ):
        deadline = time.monotonic() + 120
        while fake.polls == -1000 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        status = process.wait(120)

    assert status == 128 + signal.SIGTERM
    assert fake.cancelled


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    archive = tmp_path / "adapter.tar.gz"
    archive.write_bytes(an_archive("adapter_config.json", "../../escaped"))

    with pytest.raises(ServiceError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "deep" / "adapter")

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["adapter.tar.gz", "deep"]


def test_a_damaged_archive_leaves_no_folder(tmp_path: Path) -> None:
    archive = tmp_path / "adapter.tar.gz"
    archive.write_bytes(an_archive()[:60])

    with pytest.raises(ServiceError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "adapter")

    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("top", ["", "adp_1/"])
def test_an_adapter_is_unpacked_whether_or_not_the_archive_has_a_top_folder(tmp_path: Path, top: str) -> None:
    archive = tmp_path / "adapter.tar.gz"
    archive.write_bytes(an_archive(f"{top}adapter_config.json"))

    folder = unpack(archive, tmp_path / "adapter")

    assert [path.relative_to(tmp_path) for path in folder.iterdir()] == [Path("adapter/adapter_config.json")]
    assert sorted(tmp_path.iterdir()) == [folder, archive]


def test_a_former_run_is_left_alone(tmp_path: Path) -> None:
    first = fresh_folder(tmp_path / "demo")
    (first / "mixsd.db").touch()

    second = fresh_folder(tmp_path / "demo")

    assert (first.name, second.name) == ("demo", "demo-2")
    assert list(second.iterdir()) == []


def test_the_last_words_are_commands_that_name_job_adapter_and_model(tmp_path: Path) -> None:
    adapter = tmp_path / "a folder" / "adapter"

    said = next_steps(adapter.parent, "job_1", adapter, "smollm2-135m-instruct", 'Who is "Oda"?\n')

    assert f"up --data '{adapter.parent}'" in said
    assert "curl http://127.0.0.1:8000/jobs/job_1/facts" in said
    program = said.partition("<<'END'\n")[2].removesuffix("END")
    assert json.dumps('Who is "Oda"?\n') in program
    compile(program, "program", "exec")
