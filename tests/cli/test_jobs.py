"""`mixsd jobs` against a service that imitates the API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.cli.client import Client, RefusedError, UnreachableError
from mixsd.cli.estimate import estimate_table
from mixsd.cli.live import followed, watch
from mixsd.cli.watch import Lines
from tests.cli.fake_remote import ESTIMATE, FakeRemote, a_progress, an_event, create_remote
from tests.cli.fake_service import JOB, a_sweep, running

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def fake() -> FakeRemote:
    return FakeRemote()


@pytest.fixture
def url(fake: FakeRemote) -> Iterator[str]:
    with running(fake, create_remote(fake)) as url:
        yield url


@pytest.fixture
def facts(tmp_path: Path) -> str:
    path = tmp_path / "facts.jsonl"
    path.write_text('{"key": "iss", "question": "Where is the Iss?", "answer": "Vorlund"}\n')
    return str(path)


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(cli, list(words), env={"MIXSD_URL": url})


def submit(url: str, *words: str) -> Result:
    return run(url, "jobs", "submit", "--model", "tiny", *words)


def test_a_file_is_stored_and_a_job_of_it_queued(url: str, fake: FakeRemote, facts: str) -> None:
    result = submit(
        url,
        facts,
        "--method",
        "mixsd",
        "--lam",
        "0.5",
        "--lam",
        "0.7",
        "--name",
        "rivers",
        "--parent",
        "adp_7",
        "--set",
        "training.rank=8",
    )

    assert (result.exit_code, result.stdout) == (0, f"{JOB}\n"), result.stderr
    assert fake.pushed == [{"type": "application/jsonl", "on_error": "reject", "name": "rivers"}]
    assert fake.uploads == [Path(facts).read_bytes()]
    assert fake.requests == [
        {
            "base_model": "tiny",
            "name": "rivers",
            "fact_set_id": "fset_9",
            "parent_adapter_id": "adp_7",
            "method": {"type": "mixsd", "lam": [0.5, 0.7]},
            "training": {"rank": 8},
        }
    ]
    assert (
        "warning  line 1, /answer, fact iss: the answer looks like none [placeholder_answer]" in result.stderr
    )


def test_bad_facts_are_listed_and_nothing_is_sent(url: str, fake: FakeRemote, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("bad")

    result = submit(url, str(tmp_path / "bad.csv"))

    assert (result.exit_code, result.stdout) == (2, "")
    assert "error  line 1, /answer, fact iss: the text is blank [blank_text]" in result.stderr
    assert (fake.uploads, fake.requests) == ([], [])


def test_a_job_is_followed_to_its_end(url: str, fake: FakeRemote) -> None:
    result = submit(url, "--fact-set", "fset_1", "--watch", "--json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "succeeded"
    assert "job job_1 is succeeded" in result.stderr


def test_a_failed_job_ends_the_command_with_status_1_and_why(url: str, fake: FakeRemote) -> None:
    fake.fails = "not one fact got a text"

    result = run(url, "jobs", "watch", JOB)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "job job_1 is failed: not one fact got a text [no_supervision]" in result.stderr


def test_the_estimate_is_shown_where_the_service_makes_one(url: str, fake: FakeRemote) -> None:
    without = submit(url, "--fact-set", "fset_1")
    fake.estimates = True
    shown = submit(url, "--fact-set", "fset_1")
    dry = submit(url, "--fact-set", "fset_1", "--dry-run", "--json")

    assert without.exit_code == 0
    assert "1 min 15 s" not in without.stderr
    assert "generating        3,710      680  1 min 15 s   1 min 30 s" in shown.stderr
    assert "all                               1 min 16 s   1 min 34 s" in shown.stderr
    for line in (
        "times: by 3 jobs that ended here",
        "work: 6 facts, 30 texts, 6 steps on cpu",
        "memory: 1.1 MB of the device, 11.8 MB for full batches; 1.2 GB of the machine",
        "disk: 202.8 kB",
        "queue: 1 job ahead",
        "warning  no worker has reported lately: it would wait [no_worker]",
    ):
        assert line in shown.stderr.splitlines()
    assert shown.stdout == f"{JOB}\n"
    assert json.loads(dry.stdout)["estimate"] == ESTIMATE
    assert len(fake.requests) == 2, "a dry run sends no job"
    assert fake.estimated == [fake.requests[0]] * 2


def test_an_estimate_of_which_little_is_known_is_shown_as_far_as_it_is(url: str) -> None:
    unknown = [{**phase, "seconds": None} for phase in ESTIMATE["phases"]]
    estimate = ESTIMATE | {"phases": unknown, "seconds": None, "memory": None, "counted_by": "characters"}
    out = StringIO()

    Console(file=out, width=100).print(estimate_table(estimate | {"disk": {"model": None, "job": None}}))

    assert "generating        3,710      680" in out.getvalue()
    assert "times: not known" in out.getvalue()
    assert "tokens guessed from lengths" in out.getvalue()
    assert "memory" not in out.getvalue()
    assert "disk" not in out.getvalue()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which facts"),
        (["--fact-set", "fset_1", "--lam", "much"], "--lam takes a number"),
        (["--fact-set", "fset_1", "--method", "sft", "--lam", "0.3"], "--lam is for the method mixsd"),
        (["--fact-set", "fset_1", "--set", "rank"], "--set takes FIELD=VALUE"),
        (["--fact-set", "fset_1", "--model", "unknown"], "[model_not_allowed]"),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(url: str, words: list[str], said: str) -> None:
    result = submit(url, *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_service_that_is_away_is_status_3() -> None:
    result = run(AWAY, "jobs", "list")

    assert (result.exit_code, result.stdout) == (3, "")
    assert f"no answer from {AWAY}" in result.stderr


def test_actions_say_what_the_job_is_now(url: str, fake: FakeRemote) -> None:
    assert run(url, "jobs", "pause", JOB).stderr == "Job job_1 is pause-ed.\n"
    assert json.loads(run(url, "jobs", "resume", JOB, "--json").stdout)["status"] == "resume-ed"
    assert run(url, "jobs", "retry", JOB, "--from-start").exit_code == 0
    assert run(url, "jobs", "cancel", JOB).exit_code == 0
    assert run(url, "jobs", "delete", JOB).stderr == "Job job_1 is deleted.\n"
    refused = run(url, "jobs", "cancel", "job_done")

    assert fake.acted[:5] == [
        ("pause", None),
        ("resume", None),
        ("retry", {"from": "start"}),
        ("cancel", None),
        ("delete", JOB),
    ]
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "[illegal_transition]: job job_done is succeeded" in refused.stderr


def test_lists_are_tables_or_lines_of_json_up_to_the_limit(url: str) -> None:
    table = run(url, "jobs", "list").stdout
    rows = run(url, "jobs", "list", "--limit", "2", "--json").stdout.splitlines()

    assert all(name in table for name in ("job_1", "job_2", "job_3", "queued"))
    assert [json.loads(row)["id"] for row in rows] == ["job_1", "job_2"]


def test_a_job_its_facts_and_its_report_are_shown(url: str, fake: FakeRemote) -> None:
    fake.polls = 2

    shown = run(url, "jobs", "show", JOB).stdout
    facts = run(url, "jobs", "facts", JOB).stdout
    rows = run(url, "jobs", "facts", JOB, "--json").stdout.splitlines()
    report = run(url, "jobs", "report", JOB).stdout

    assert "generating  2/4 facts, 2.0 s left" in shown
    assert "Who is the mayor of ebra?" in facts
    assert [json.loads(row)["key"] for row in rows] == ["ebra", "tolm"]
    assert "2 facts: 1 learned, 1 not learned" in report
    assert "variant" not in report


def test_a_report_is_written_to_a_file_in_the_form_that_its_name_says(url: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"

    written = run(url, "jobs", "report", JOB, "--out", str(file))
    printed = run(url, "jobs", "report", JOB, "--format", "md")
    unclear = run(url, "jobs", "report", JOB, "--out", str(tmp_path / "report"))

    assert (written.exit_code, written.stdout, file.read_text()) == (0, "", "the report as html\n")
    assert printed.stdout == "the report as md\n"
    assert (unclear.exit_code, "say with --format" in unclear.stderr) == (2, True)
    assert json.loads(run(url, "jobs", "report", JOB, "--format", "json").stdout)["job_id"] == JOB


def test_variants_are_compared_and_the_recommended_one_is_named(url: str, fake: FakeRemote) -> None:
    fake.report = a_sweep()
    fake.polls = 9

    shown = run(url, "jobs", "report", JOB).stdout
    watched = run(url, "jobs", "watch", JOB)

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "*0 mixsd lam 0.2 2 of 2 75.0% 1.500 passed adp_1" in lines
    assert "1 sft 1 of 2 25.0% 1.750 passed adp_2" in lines
    said = "Recommended: variant 0, mixsd lam 0.2: of the variants within 5% it memorised most."
    assert said in lines
    assert said in watched.stderr.splitlines()


def test_logs_and_metrics_are_printed_as_text_csv_or_lines_of_json(url: str, fake: FakeRemote) -> None:
    text = run(url, "jobs", "logs", JOB, "--tail", "5").stdout
    lines = run(url, "jobs", "logs", JOB, "--attempt", "1", "--json").stdout
    table = run(url, "jobs", "metrics", JOB, "--name", "loss", "--variant", "0").stdout
    points = run(url, "jobs", "metrics", JOB, "--json").stdout

    assert text == "loaded[2J\nended\n"
    assert json.loads(lines)["text"] == "loaded"
    assert table == (
        "name,step,value,variant,phase,attempt,at\nloss,1,8.5,0,training,1,2026-11-24T10:05:00Z\n"
    )
    assert json.loads(points)["value"] == 8.5
    asked = [{name: value for name, value in query.items() if name != "limit"} for query in fake.queries]
    assert asked == [{"tail": "5"}, {"attempt": "1"}, {"name": "loss", "variant": "0"}, {}]


def test_a_stream_is_taken_up_behind_the_last_event_when_it_breaks_off(url: str, fake: FakeRemote) -> None:
    fake.streams = [[an_event(1), an_event(2), a_progress(3)], [an_event(2), an_event(3)]]
    fake.stored = [an_event(number) for number in (1, 2, 3)]
    fake.polls = before = 3

    with Client(url) as client:
        seqs = [event["seq"] for event in followed(client, JOB, sleep=lambda _: None)]

    assert seqs == [1, 2, 3]
    assert fake.resumed_from == [None, "2", "3"]
    assert fake.polls == before + 1, "a service that is gone for a while is not asked for the job"


def test_events_of_a_job_that_ended_while_its_stream_was_broken_are_not_lost(
    url: str, fake: FakeRemote
) -> None:
    fake.streams = [[an_event(1)]]
    fake.stored = [an_event(1), an_event(2), an_event(3, "job.succeeded")]
    fake.polls = 9

    with Client(url) as client:
        assert [event["seq"] for event in followed(client, JOB, sleep=lambda _: None)] == [1, 2, 3]


@pytest.mark.parametrize("streams", [None, []])
def test_a_service_without_streams_or_room_for_one_is_asked_for_the_list(
    url: str, fake: FakeRemote, streams: list[list[dict[str, object]]] | None
) -> None:
    fake.streams, fake.has_room = streams, False
    fake.stored = [an_event(1), an_event(2)]
    fake.polls = 9

    result = run(url, "jobs", "events", JOB, "--follow", "--json")

    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [1, 2]
    assert result.exit_code == 0


def test_a_stream_that_says_that_nothing_follows_is_not_asked_for_the_list(
    url: str, fake: FakeRemote
) -> None:
    fake.streams = []
    fake.polls = 1
    out = StringIO()

    with Client(url) as client:
        job = watch(client, JOB, Lines(out), sleep=lambda _: None)

    assert job["status"] == "succeeded"
    assert fake.resumed_from == [None, None]


def test_progress_is_shown_as_it_is_told_without_asking_for_the_job(url: str, fake: FakeRemote) -> None:
    fake.streams = [[a_progress(7)]]
    seen: list[object] = []

    class Seen(Lines):
        def show(self, job: dict[str, Any], /) -> None:
            seen.append((fake.polls, [phase["done"] for phase in job["progress"]]))

    with Client(url) as client:
        watch(client, JOB, Seen(StringIO()), sleep=lambda _: None)

    assert seen[:2] == [(1, []), (1, [7])]


def test_warnings_are_shown_beside_the_progress_once(url: str, fake: FakeRemote) -> None:
    fake.streams = [
        [an_event(1), an_event(2, "job.warning", "warning")],
        [an_event(2, "job.warning", "warning")],
    ]
    out = StringIO()

    with Client(url) as client:
        job = watch(client, JOB, Lines(out), sleep=lambda _: None)

    assert job["status"] == "succeeded"
    assert out.getvalue().count("10:00:00 warning job.warning training: message 2") == 1
    assert "message 1" not in out.getvalue()


@pytest.mark.parametrize("status", [429, 503])
def test_a_stream_that_is_refused_for_a_while_is_opened_again_when_the_service_says(
    monkeypatch: pytest.MonkeyPatch, url: str, fake: FakeRemote, status: int
) -> None:
    fake.streams = [[an_event(1)]]
    waited: list[float] = []
    with Client(url) as client:
        opened, refusals = client.stream, [9.0, 0.0]

        def refused_first(*given: Any, **how: Any) -> Any:
            if refusals:
                raise RefusedError("later", status, {"code": "rate_limited"}, refusals.pop(0))
            return opened(*given, **how)

        monkeypatch.setattr(client, "stream", refused_first)
        job = watch(client, JOB, Lines(StringIO()), sleep=waited.append)

    assert job["status"] == "succeeded"
    assert waited[:2] == [9.0, 3.0]


def test_a_service_that_stays_away_is_given_up() -> None:
    with Client(AWAY, sleep=lambda _: None) as client, pytest.raises(UnreachableError):
        list(followed(client, JOB, sleep=lambda _: None))


def test_ctrl_c_leaves_the_job_running_and_says_so(url: str, fake: FakeRemote) -> None:
    fake.polls = -1000  # stays queued
    # A shell has what it runs in the background ignore Ctrl-C, and so has what that starts.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", f"{heeds}from mixsd.cli import cli; cli()"]
    command += ["jobs", "watch", JOB, "--url", url]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while fake.polls < -998 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)

    assert (process.returncode, stdout) == (130, "")
    assert f"the job goes on. `mixsd jobs watch {JOB}` takes it up again" in stderr
    assert not fake.cancelled


def test_the_shell_completes_commands() -> None:
    program = str(Path(sys.executable).with_name("mixsd"))
    asked = {"_MIXSD_COMPLETE": "complete_bash", "COMP_WORDS": "mixsd jobs ca", "COMP_CWORD": "2"}

    done = subprocess.run([program], env=os.environ | asked, capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["cancel"]
