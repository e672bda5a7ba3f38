from io import StringIO
from typing import Any

from rich.console import Console

from mixsd.cli.client import Client
from mixsd.cli.watch import Bars, Lines, follow
from tests.cli.fake_service import JOB, FakeService, running


def a_job(done: int, *, finished: bool = False, status: str = "running") -> dict[str, Any]:
    phase = {"phase": "training", "done": done, "total": 48, "unit": "steps", "rate": 2.0}
    phase |= {"eta_seconds": 20.0, "finished": finished}
    return {"id": JOB, "status": status, "terminal": False, "progress": [phase]}


def test_a_phase_gets_at_most_one_line_in_ten_seconds() -> None:
    out, now = StringIO(), [0.0]
    lines = Lines(out, clock=lambda: now[0])

    for second in range(25):
        now[0] = float(second)
        lines.show(a_job(second))

    assert out.getvalue().splitlines() == [
        "job job_1 is running",
        "training: 0/48 steps, 2.0 steps/s, 20 s left",
        "training: 10/48 steps, 2.0 steps/s, 20 s left",
        "training: 20/48 steps, 2.0 steps/s, 20 s left",
    ]


def test_bars_show_amount_rate_and_time_left_of_a_phase() -> None:
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)

    with Bars(console) as bars:
        bars.show(a_job(12))

    last = out.getvalue()
    assert "12/48 steps" in last
    assert "2.0 steps/s, 20 s left" in last
    assert "packaging" in last


def test_a_finished_phase_fills_its_bar() -> None:
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)

    with Bars(console) as bars:
        bars.show(a_job(30, finished=True))

    assert "30/48 steps finished" in " ".join(out.getvalue().split())


def test_following_a_job_ends_with_its_last_state() -> None:
    with running(FakeService()) as url, Client(url) as client:
        job = follow(client, JOB, Lines(StringIO()), sleep=lambda _seconds: None)

    assert job["status"] == "succeeded"
