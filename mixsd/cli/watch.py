"""Follows a job until it ends, and shows its progress: bars in a terminal, else now and then a line."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from mixsd.cli.client import Client
from mixsd.cli.render import amount, duration, printable

PHASES: Final = ("preparing", "baseline", "generating", "training", "evaluating", "packaging")
POLL_SECONDS: Final = 0.5
LINE_SECONDS: Final = 10.0
"""Least time between two lines about one phase, where there are no bars."""


class Display(AbstractContextManager["Display"], Protocol):
    """Shows the state of a job each time it was asked for."""

    def show(self, job: dict[str, Any], /) -> None: ...

    def note(self, line: str, /) -> None:
        """Show a line beside it."""
        ...


def follow(
    client: Client,
    job_id: str,
    display: Display,
    *,
    sleep: Callable[[float], None] = time.sleep,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Poll a job until it is terminal, and return it. `check` may raise to give up."""
    while True:
        check()
        job = client.job(job_id)
        display.show(job)
        if job["terminal"]:
            return job
        sleep(POLL_SECONDS)


def display_on(stream: TextIO) -> Display:
    """Return the display that suits the stream."""
    return Bars(Console(file=stream)) if stream.isatty() else Lines(stream)


class Bars:
    """One bar per phase, there from the start."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[amount]}", justify="right"),
            TextColumn("{task.fields[pace]}", justify="right", style="dim"),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {phase: self._add(phase) for phase in PHASES}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: dict[str, Any], /) -> None:
        for phase in job["progress"]:
            name = phase["phase"]
            if name not in self._tasks:
                self._tasks[name] = self._add(name)
            total = phase["total"] or 1
            self._progress.update(
                self._tasks[name],
                total=total,
                completed=total if phase["finished"] else min(phase["done"], total),
                amount=amount(phase),
                pace=pace(phase),
            )

    def note(self, line: str, /) -> None:
        self._progress.console.print(Text(printable(line)))

    def _add(self, phase: str) -> TaskID:
        return self._progress.add_task(phase, total=1, amount="", pace="")


class Lines:
    """Plain lines, for logs: at most one per phase in ten seconds, and one when the status changes."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last: dict[str, tuple[float, str]] = {}
        self._status = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, job: dict[str, Any], /) -> None:
        if job["status"] != self._status:
            self._status = job["status"]
            self._write(f"job {job['id']} is {self._status}")
        now = self._clock()
        for phase in job["progress"]:
            rest = ", ".join(part for part in (amount(phase), pace(phase)) if part)
            line = f"{phase['phase']}: {rest}" if rest else f"{phase['phase']}"
            last_time, last_line = self._last.get(phase["phase"], (-LINE_SECONDS, ""))
            if line != last_line and now - last_time >= LINE_SECONDS:
                self._last[phase["phase"]] = (now, line)
                self._write(line)

    def note(self, line: str, /) -> None:
        self._write(printable(line))

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def pace(phase: dict[str, Any]) -> str:
    """Return how fast a phase goes and how long it will take, or that it is over.

    Example:
        >>> pace({"finished": False, "rate": 2.5, "eta_seconds": 8.0, "unit": "steps"})
        '2.5 steps/s, 8.0 s left'
    """
    if phase["finished"]:
        return "finished"
    parts = []
    if phase.get("rate") is not None:
        parts.append(f"{phase['rate']:.1f} {phase['unit']}/s")
    if phase.get("eta_seconds") is not None:
        parts.append(f"{duration(phase['eta_seconds'])} left")
    return ", ".join(parts)
