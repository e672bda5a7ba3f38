"""What a job is expected to take, for people: made from the answer of `POST /jobs/estimate`. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixsd.cli.render import duration, printable
from mixsd.cli.tables import size

Json = Mapping[str, Any]


def estimate_table(estimate: Json) -> RenderableType:
    """Return tokens and time of each phase and in all, and what else is needed, without `warnings`.

    What is not known is left out.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("phase")
    for name in ("tokens read", "written", "time", "nine of ten"):
        table.add_column(name, justify="right")
    for phase in estimate.get("phases") or ():
        table.add_row(*_row(phase))
    table.add_row("all", "", "", *_seconds(estimate), style="bold")
    return Group(table, *(Text(printable(line)) for line in _lines(estimate)))


def warnings(estimate: Json) -> list[str]:
    """Return a line for each thing that is worth knowing before the job is sent."""
    return [
        f"warning  {printable(found['detail'])} [{found['code']}]" for found in estimate.get("warnings") or ()
    ]


def _row(phase: Json) -> Iterator[str]:
    yield phase["phase"]
    for name in ("tokens_read", "tokens_written"):
        yield f"{phase[name]:,}" if phase.get(name) else ""
    yield from _seconds(phase)


def _seconds(forecast: Json) -> tuple[str, str]:
    seconds = forecast.get("seconds") or {}
    return duration(seconds.get("p50")), duration(seconds.get("p90"))


def _lines(estimate: Json) -> Iterator[str]:
    yield _basis(estimate)
    for line in (_work(estimate), _memory(estimate), _disk(estimate), _queue(estimate)):
        if line:
            yield line


def _basis(estimate: Json) -> str:
    seconds = estimate.get("seconds")
    if not seconds:
        return "times: not known, since the size of the model is not"
    if seconds.get("basis") == "history":
        return f"times: by {_counted(seconds['n'], 'job')} that ended here"
    return "times: a first guess, which may be far off, since no such job has ended here yet"


def _work(estimate: Json) -> str:
    if estimate.get("facts") is None:
        return ""
    texts, steps = _counted(estimate["targets"], "text"), _counted(estimate["steps"], "step")
    guessed = ", tokens guessed from lengths" if estimate.get("counted_by") == "characters" else ""
    return f"work: {_counted(estimate['facts'], 'fact')}, {texts}, {steps} on {estimate['device']}{guessed}"


def _memory(estimate: Json) -> str:
    memory = estimate.get("memory")
    if not memory:
        return ""
    least, most = size(memory["device_least"]), size(memory["device_at_once"])
    said = f"memory: {least} of the device, {most} for full batches; {size(memory['host'])} of the machine"
    peak = memory.get("peak") or {}
    return f"{said}; by earlier jobs {size(peak['p50'])}" if peak.get("basis") == "history" else said


def _disk(estimate: Json) -> str:
    disk = estimate.get("disk") or {}
    fetched = f", {size(disk['model'])} to fetch" if disk.get("model") else ""
    return f"disk: {size(disk['job'])}{fetched}" if disk.get("job") is not None else ""


def _queue(estimate: Json) -> str:
    queue = estimate.get("queue")
    if not queue:
        return ""
    starts = queue.get("starts_in_seconds")
    when = "" if starts is None else ", starts at once" if starts < 1 else f", starts in {duration(starts)}"
    return f"queue: {_counted(queue['jobs_ahead'], 'job')} ahead{when}"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
