"""`mixsd adapters` against a service that imitates the API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.cli.client import Client, ServiceError
from mixsd.cli.pull import pull
from tests.cli.fake_remote import FILES, FakeRemote, create_remote
from tests.cli.fake_service import JOB, running

WEIGHTS = "weights/adapter_model.safetensors"


@pytest.fixture
def fake() -> FakeRemote:
    return FakeRemote()


@pytest.fixture
def url(fake: FakeRemote) -> Iterator[str]:
    with running(fake, create_remote(fake)) as url:
        yield url


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(cli, ["adapters", *words, "--url", url])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_adapter_is_fetched_into_a_folder_that_is_printed(
    url: str, fake: FakeRemote, tmp_path: Path
) -> None:
    fake.polls = 9  # the job has succeeded, so it may stand for its adapter

    result = run(url, "pull", JOB, "--to", str(tmp_path / "mine"))

    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'mine'}\n"), result.stderr
    assert contents(tmp_path) == {f"mine/{path}": content for path, content in FILES.items()}
    assert "2 files, all as their sha256 says" in result.stderr


def test_a_download_that_breaks_off_goes_on_where_it_was(url: str, fake: FakeRemote, tmp_path: Path) -> None:
    fake.break_after = 3000
    seen: list[int] = []

    with Client(url) as client:
        pull(client, "adp_1", tmp_path / "mine", on_bytes=seen.append)

    assert fake.ranges == [None, None, "bytes=3000-"]
    assert contents(tmp_path / "mine") == FILES
    assert sum(seen) == sum(map(len, FILES.values()))


def test_a_later_try_takes_up_what_an_earlier_one_has_left(
    url: str, fake: FakeRemote, tmp_path: Path
) -> None:
    partial = tmp_path / "mine.partial"
    (partial / "weights").mkdir(parents=True)
    (partial / WEIGHTS).write_bytes(FILES[WEIGHTS][:5000])
    (partial / "of-another-adapter").touch()

    with Client(url) as client:
        pull(client, "adp_1", tmp_path / "mine")

    assert fake.ranges == [None, "bytes=5000-"]
    assert contents(tmp_path) == {f"mine/{path}": content for path, content in FILES.items()}


@pytest.mark.parametrize("content", [b"x" * len(FILES[WEIGHTS]), FILES[WEIGHTS] + b"more"])
def test_content_that_is_not_as_listed_makes_no_folder(
    url: str, fake: FakeRemote, tmp_path: Path, content: bytes
) -> None:
    fake.files[WEIGHTS] = content

    result = run(url, "pull", "adp_1", "--to", str(tmp_path / "mine"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert WEIGHTS in result.stderr
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_is_there_is_left_alone(url: str, tmp_path: Path) -> None:
    result = run(url, "pull", "adp_1", "--to", str(tmp_path))

    assert result.exit_code == 2
    assert "name another folder with --to" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../escaped", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_no_file_is_written_outside_of_the_folder(tmp_path: Path, path: str) -> None:
    class Hostile(Client):
        def read(self, where: str, params: object = None) -> dict[str, object]:
            listed = {"path": path, "bytes": 0, "sha256": "0" * 64}
            return {"data": [listed]} if where.endswith("/files") else {"id": "adp_1", "sha256": ""}

    with Hostile("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="no place within"):
        pull(client, "adp_1", tmp_path / "mine")

    assert list(tmp_path.iterdir()) == []


def test_a_job_without_an_adapter_is_named(url: str) -> None:
    result = run(url, "pull", JOB)

    assert result.exit_code == 2
    assert "job job_1 is queued and has no adapter" in result.stderr


def test_an_adapter_is_asked_beside_its_base_model(url: str, fake: FakeRemote) -> None:
    fake.inference = {"data": [{"prompt": "Where?", "base": "No idea.", "adapter": {"text": "In Vorlund."}}]}

    shown = run(url, "try", "adp_1", "Where?").stdout
    answered = json.loads(run(url, "try", "adp_1", "Where?", "Who?", "--alone", "--json").stdout)

    assert all(text in shown for text in ("Where?", "No idea.", "In Vorlund."))
    assert answered["asked"] == {"prompts": ["Where?", "Who?"], "compare_base": False}


def test_a_service_that_cannot_answer_says_so_with_status_3(
    url: str, fake: FakeRemote, tmp_path: Path
) -> None:
    without_process = run(url, "try", "adp_1", "Where?")
    with running(fake) as old:
        without_endpoint = run(old, "try", "adp_1", "Where?")

    assert (without_process.exit_code, without_process.stdout) == (3, "")
    assert "no inference process to ask [inference_unavailable]" in without_process.stderr
    assert without_endpoint.exit_code == 3
    assert "its version has no POST /adapters/{id}/generate" in without_endpoint.stderr
