"""`mixsd adapters` against a service that imitates the API."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.cli.client import Client, ServiceError
from mixsd.cli.pull import pull
from mixsd.cli.spoken import spoken
from tests.cli.fake_remote import FILES, FakeRemote, a_problem, create_remote
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


def test_the_adapter_of_a_variant_is_found_by_its_job(url: str, fake: FakeRemote) -> None:
    fake.variants = [{"variant": number, "adapter_id": f"adp_{number + 1}"} for number in range(2)]
    fake.inference = {"adapter_id": "adp_2", "answers": []}

    found = run(url, "try", JOB, "Who?", "--variant", "1", "--json")
    missing = run(url, "try", JOB, "Who?", "--variant", "2")
    twice = run(url, "try", "adp_1", "Who?", "--variant", "1")

    assert (found.exit_code, fake.paths) == (0, ["adp_2"])
    assert (missing.exit_code, "has no adapter of variant 2" in missing.stderr) == (2, True)
    assert (twice.exit_code, "goes with the id of a job" in twice.stderr) == (2, True)


def said(text: str, reason: str = "stop") -> dict[str, Any]:
    return {"text": text, "finish_reason": reason, "tokens": 3}


def test_an_adapter_is_asked_beside_its_base_model(url: str, fake: FakeRemote) -> None:
    first = {"index": 0, "prompt_tokens": 11, "adapter": said("In Vorlund."), "base": said("No", "length")}
    second = {"index": 1, "prompt_tokens": 11, "adapter": said("Oda \x1b[2JTolm."), "base": said("Me.")}
    fake.inference = {"adapter_id": "adp_1", "base_model": "tiny", "base_revision": "r1"}
    fake.inference["answers"] = [first, second]

    shown = run(url, "try", "adp_1", "Where is it?", "Who is it?")
    alone = run(url, "try", "adp_1", "Where?", "Who?", "--alone", "--max-new-tokens", "9", "--json")

    assert shown.exit_code == 0, shown.stderr
    rows = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "│ Where is it? │ No [...] │ In Vorlund. │" in rows
    assert "│ Who is it? │ Me. │ Oda [2JTolm. │" in rows
    assert json.loads(alone.stdout) == fake.inference
    defaults = {"max_new_tokens": 128, "compare_base": True}
    assert fake.asked == [
        {"prompts": ["Where is it?", "Who is it?"], **defaults},
        {"prompts": ["Where?", "Who?"], "compare_base": False, "max_new_tokens": 9},
    ]


def a_delta(index: int, of: str, text: str) -> dict[str, Any]:
    return {"type": "delta", "index": index, "of": of, "text": text}


def an_answer(index: int, of: str, text: str, reason: str = "stop") -> dict[str, Any]:
    return {"type": "answer", "index": index, "of": of, **said(text, reason), "prompt_tokens": 5}


PIECES = [
    a_delta(0, "base", "No "),
    a_delta(0, "adapter", "In "),
    an_answer(1, "adapter", "Oda."),
    an_answer(0, "base", "No idea", "length"),
    a_delta(0, "adapter", "Vor"),
    an_answer(0, "adapter", "In Vorlund."),
    an_answer(1, "base", "I."),
]


def test_answers_are_printed_one_after_another_while_they_are_written() -> None:
    printed = list(spoken(PIECES, ["Where?", "Who?"]))

    assert printed[:3] == ["Where?\nadapter: ", "In ", "Vor"], "what comes out of turn waits"
    assert "".join(printed) == (
        "Where?\nadapter: In Vorlund.\nbase: No idea [...]\nWho?\nadapter: Oda.\nbase: I.\n"
    )


def test_a_streamed_answer_is_text_or_lines_of_json(url: str, fake: FakeRemote) -> None:
    fake.inference, fake.pieces = {}, [*PIECES, {"type": "done"}]

    text = run(url, "try", "adp_1", "Where?", "Who?", "--stream")
    lines = run(url, "try", "adp_1", "Where?", "Who?", "--stream", "--json").stdout.splitlines()

    assert (text.exit_code, text.stdout) == (0, "".join(spoken(PIECES, ["Where?", "Who?"])))
    assert [json.loads(line) for line in lines] == PIECES
    assert fake.asked[0]["stream"] is True


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ([{"type": "error", "status": 503, "code": "inference_failed", "detail": "no room"}], "no room"),
        ([], "broke off before all was said"),
    ],
)
def test_a_streamed_answer_that_breaks_off_is_no_success(
    url: str, fake: FakeRemote, last: list[dict[str, Any]], why: str
) -> None:
    fake.inference, fake.pieces = {}, [PIECES[1], *last]

    result = run(url, "try", "adp_1", "Where?", "--stream")

    assert (result.exit_code, result.stdout) == (3, "Where?\nadapter: In ")
    assert why in result.stderr


@pytest.mark.parametrize("words", [[], ["--stream"]])
def test_an_adapter_that_is_held_back_is_told_of_in_one_line(
    url: str, fake: FakeRemote, words: list[str]
) -> None:
    fake.inference = a_problem(409, "adapter_quarantined", "adapter adp_1 failed its job's gate")

    result = run(url, "try", "adp_1", "Where?", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "mixsd: adapter adp_1 failed its job's gate [adapter_quarantined]\n"


def test_a_service_that_cannot_answer_says_so_with_status_3(url: str, fake: FakeRemote) -> None:
    without_process = run(url, "try", "adp_1", "Where?")
    with running(fake) as old:
        without_endpoint = run(old, "try", "adp_1", "Where?")

    assert (without_process.exit_code, without_process.stdout) == (3, "")
    assert without_process.stderr == (
        "mixsd: nobody answers for it there (no inference process runs); `mixsd adapters pull` fetches it "
        "[inference_unavailable]\n"
    )
    assert len(fake.asked) == 1
    assert without_endpoint.exit_code == 3
    assert "its version has no POST /adapters/{id}/generate" in without_endpoint.stderr


@pytest.mark.parametrize("kind", ["folder", "adapter.tar.gz", "adapter.tgz", "adapter.zip"])
def test_an_adapter_is_brought_in(url: str, fake: FakeRemote, tmp_path: Path, kind: str) -> None:
    source = tmp_path / kind
    if kind == "folder":
        source.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt"):
            (source / name).write_bytes(name.encode())
    else:
        source.write_bytes(b"packed")

    result = run(
        url, "import", str(source), "--base-model", "owner/model", "--label", "ours", "--facts", "fset_1"
    )

    assert (result.exit_code, result.stdout) == (0, "adp_9\n"), result.stderr
    ((query, media_type, body),) = fake.imported
    assert query == {"base_model": "owner/model", "label": "ours", "fact_set_id": "fset_1"}
    assert media_type == ("application/zip" if kind.endswith(".zip") else "application/gzip")
    if kind == "folder":
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            names = archive.getnames()
        assert names == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    else:
        assert body == b"packed"


@pytest.mark.parametrize("source", ["nothing.tar.gz", "empty", "adapter.rar"])
def test_what_cannot_be_brought_in_is_named(url: str, fake: FakeRemote, tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()

    result = run(url, "import", str(tmp_path / source), "--base-model", "owner/model")

    assert result.exit_code != 0
    assert "adapter_config.json" in result.stderr if source == "empty" else source in result.stderr
    assert fake.imported == []


def test_a_file_is_fetched_from_where_the_service_sends_us_without_the_key(
    fake: FakeRemote, url: str, tmp_path: Path
) -> None:
    """As a service does whose adapters lie in S3."""
    seen: list[tuple[str, str | None, str | None]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = request.headers
        seen.append((request.url.host, headers.get("authorization"), headers.get("range")))
        if request.url.host == "service":
            return httpx2.Response(307, headers={"Location": "https://bucket.example.com/x?signed=1"})
        return httpx2.Response(206, content=b"tes")

    with (
        Client("http://service", key="secret", transport=httpx2.MockTransport(answer)) as client,
        client.stream("/adapters/adp_1/files/x", headers={"Range": "bytes=1-3"}) as sent,
    ):
        content = sent.read()

    assert content == b"tes"
    assert seen == [
        ("service", "Bearer secret", "bytes=1-3"),
        ("bucket.example.com", None, "bytes=1-3"),
    ]
