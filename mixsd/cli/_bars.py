"""Progress of the library on a terminal: one bar a phase, on stderr."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mixsd.progress import OnProgress, Progress


@contextmanager
def bars(*, keep: bool = True) -> Generator[Callable[[str], OnProgress]]:
    """Give a function that begins a bar for a phase and returns what moves it.

    Args:
        keep: Leave bars of earlier phases standing.
    """
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
            if not keep:
                for earlier in shown.task_ids:
                    shown.remove_task(earlier)
            task = shown.add_task(phase, total=None, unit="")

            def move(progress: Progress, /) -> None:
                shown.update(task, completed=progress.done, total=progress.total, unit=progress.unit)

            return move

        yield begin
