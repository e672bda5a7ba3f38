"""Progress of the library on a terminal: one bar a phase, on stderr."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mixsd.progress import OnProgress, Progress


@contextmanager
def bars() -> Generator[Callable[[str], OnProgress]]:
    """Give a function that begins a bar for a phase and returns what moves it."""
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as shown:

        def begin(phase: str) -> OnProgress:
            task = shown.add_task(phase, total=None, unit="")

            def move(progress: Progress, /) -> None:
                shown.update(task, completed=progress.done, total=progress.total, unit=progress.unit)

            return move

        yield begin
