"""The log of a job: written by workers, read by clients."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.ids import JobId
from app.jobs.states import JobStatus
from app.live import logs
from app.settings import Settings
from tests.app.published import another_project
from tests.factories import NOW, a_job
from worker.joblog import JobLog

ENDED: dict[str, Any] = {"status": JobStatus.CANCELLED, "finished_at": NOW, "attempt": 2}
TEXT = {"Accept": "text/plain"}


@pytest.fixture
def job_id(database: Database) -> JobId:
    return a_job(database, **ENDED)


@pytest.fixture
def folder(settings: Settings, job_id: JobId) -> Path:
    folder = settings.work_dir / job_id
    folder.mkdir(parents=True)
    return folder


def printed(folder: Path, attempt: int, *lines: str) -> None:
    log = JobLog(folder, attempt)
    for line in lines:
        log.write(line.encode() + b"\n")


def test_lines_are_listed_with_the_attempt_that_printed_them(
    client: TestClient, folder: Path, job_id: JobId
) -> None:
    printed(folder, 1, "first", "second")
    printed(folder, 2, "third")
    path = f"/jobs/{job_id}/logs"

    page = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"cursor": page["next_cursor"]}).json()

    lines = page["data"] + rest["data"]
    assert [(line["attempt"], line["text"]) for line in lines] == [(1, "first"), (1, "second"), (2, "third")]
    assert (page["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert [line["text"] for line in client.get(path, params={"attempt": 2}).json()["data"]] == ["third"]
    assert [line["text"] for line in client.get(path, params={"tail": 1}).json()["data"]] == ["third"]


def test_it_comes_as_text_for_those_who_want_that(client: TestClient, folder: Path, job_id: JobId) -> None:
    printed(folder, 1, *(f"line {number}" for number in range(300)))

    answer = client.get(f"/jobs/{job_id}/logs", params={"tail": 250}, headers=TEXT)

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert answer.text == "".join(f"line {number}\n" for number in range(50, 300))


def test_a_cursor_goes_on_where_it_was_when_parts_have_moved_on(
    client: TestClient, folder: Path, job_id: JobId
) -> None:
    long = "x" * 9000
    log = JobLog(folder, 1)
    seen: list[int] = []
    cursor: str | None = None
    for number in range(4 * logs.PART_BYTES // len(long)):
        log.write(f"{number} {long}".encode())
        if number % 70 == 5:  # read as far as it goes, and remember where that was
            while True:
                query = {"limit": 60} | ({} if cursor is None else {"cursor": cursor})
                page = client.get(f"/jobs/{job_id}/logs", params=query).json()
                seen += [int(line["text"].partition(" ")[0]) for line in page["data"]]
                if not page["has_more"]:
                    break
                cursor = page["next_cursor"]

    assert sorted(set(seen)) == list(range(seen[-1] + 1))
    assert seen[-1] > 400
    kept = sum(path.stat().st_size for path in folder.iterdir())
    assert kept < 2 * logs.PART_BYTES + 3 * len(long)
    assert {path.name for path in folder.iterdir()} == {"log.txt", "log.old.txt"}


def test_secrets_paths_and_what_moves_a_terminal_are_not_shown(
    client: TestClient, folder: Path, job_id: JobId
) -> None:
    printed(
        folder,
        1,
        "could not reach postgresql://mixsd:hunter2@db/mixsd with Bearer abcdef",
        "and password=hunter2 token hf_abcdefghijklmnopqrstuvwxyz",
        "OSError: /home/anna/data/work/job_1/fence-3/adapter.bin is gone",
        'File "/opt/v/lib/python3.12/site-packages/torch/nn/module.py", line 3',
        "\x1b[31mred\x1b[0m and\x00 quiet\x07",
        " 10%|#  |\r 50%|## |\r100%|###|",
    )

    text = client.get(f"/jobs/{job_id}/logs", headers=TEXT).text

    assert text.splitlines() == [
        "could not reach postgresql://mixsd:***@db/mixsd with Bearer ***",
        "and password=*** token ***",
        "OSError: …/fence-3/adapter.bin is gone",
        'File "…/torch/nn/module.py", line 3',
        "red and quiet",
        "100%|###|",
    ]


def test_a_line_that_is_not_finished_comes_later(client: TestClient, folder: Path, job_id: JobId) -> None:
    printed(folder, 1, "whole")
    with (folder / "log.txt").open("ab") as file:
        file.write(b"half")

    assert client.get(f"/jobs/{job_id}/logs", headers=TEXT).text == "whole\n"


def test_nothing_but_the_log_is_read(
    client: TestClient, folder: Path, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "secret.txt").write_text("the secret\n")
    (folder / "log.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "log.old.txt").mkdir()

    for path in (folder.name, "..%2F..%2Fsecret.txt", "%2e%2e", f"{folder.name}%2F..%2F{folder.name}"):
        answer = client.get(f"/jobs/{path}/logs", headers=TEXT)
        assert answer.status_code in {404, 410}
        assert "the secret" not in answer.text


def test_before_the_first_attempt_it_is_empty_and_long_after_the_last_one_gone(
    client: TestClient, database: Database
) -> None:
    waiting = a_job(database)
    running = a_job(
        database, status=JobStatus.RUNNING, attempt=1, lease_owner="w", lease_expires_at=NOW, heartbeat_at=NOW
    )
    ended = a_job(database, **ENDED)
    hidden = a_job(database, project_id=another_project(database))

    assert client.get(f"/jobs/{waiting}/logs").json()["data"] == []
    assert client.get(f"/jobs/{running}/logs").json()["data"] == []
    gone = client.get(f"/jobs/{ended}/logs")
    assert (gone.status_code, gone.json()["code"]) == (410, "job_log_gone")
    assert client.get(f"/jobs/{hidden}/logs").json()["code"] == "job_not_found"


def test_a_log_that_cannot_be_written_blocks_nobody(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "nowhere", 1)

    log.write(b"a line\n")

    assert logs.read_log(tmp_path / "nowhere") is None


def test_a_log_without_marks_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("one\ntwo\n")

    lines = logs.read_log(tmp_path)

    assert lines is not None
    assert [(line.attempt, line.text) for line in lines] == [(None, "one"), (None, "two")]
    assert lines[0].position < lines[1].position
