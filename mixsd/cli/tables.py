"""Jobs, adapters and their answers for people: made from the JSON of the API, and nothing else. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mixsd.cli.render import amount, duration, printable

Json = Mapping[str, Any]

_COLOURS: Final = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "dim"}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def job_table(jobs: Iterable[Json]) -> Table:
    """Return one line a job."""
    table = _table("id", "status", "phase", "method", "base model", "name", "created")
    for job in jobs:
        table.add_row(
            Text(job["id"]),
            Text(job["status"], style=_COLOURS.get(job["status"], "")),
            Text(job.get("phase") or ""),
            Text(_methods(job)),
            Text(printable(job.get("base_model") or "")),
            Text(printable(job.get("name") or "")),
            Text(_moment(job.get("created_at"))),
        )
    return table


def _methods(job: Json) -> str:
    """Return the types of a job's methods, and how many adapters it makes if these are several."""
    method = job.get("method") or []
    each = [method] if isinstance(method, Mapping) else method
    kinds = "+".join(dict.fromkeys(one["type"] for one in each))
    several = len(job.get("variants") or ())
    return f"{kinds} ({several} variants)" if several > 1 else kinds


def job_card(job: Json) -> RenderableType:
    """Return what there is to know of a job as it stands."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _facts_of(job):
        table.add_row(name, Text(printable(value)))
    return table


def _facts_of(job: Json) -> Iterable[tuple[str, str]]:
    yield "job", f"{job['id']} {job.get('name') or ''}".strip()
    position = job.get("queue_position")
    yield "status", f"{job['status']}, place {position} in the queue" if position else job["status"]
    for name in ("phase", "base_model", "revision", "fact_set_id", "adapter_id", "wait_reason"):
        if job.get(name):
            yield name.replace("_", " ").removesuffix(" id"), str(job[name])
    if len(job.get("variants") or ()) > 1:
        for variant in job["variants"]:
            chosen = ", recommended" if variant["recommended"] else ""
            yield f"variant {variant['variant']}", f"{variant['label']} {variant['adapter_id'] or ''}{chosen}"
    for phase in job.get("progress") or ():
        left = duration(phase.get("eta_seconds")) if not phase.get("finished") else ""
        yield phase["phase"], f"{amount(phase)}{', ' + left + ' left' if left else ''}"
    if job.get("error"):
        yield "error", why(job)
    if job.get("gate"):
        yield "gate", str(job["gate"].get("status"))
    if job.get("allowed_actions"):
        yield "you may", ", ".join(job["allowed_actions"])


def why(job: Json) -> str:
    """Return why a job failed; nothing if it did not."""
    error = job.get("error")
    return f"{error['message']} [{error['code']}]" if error else ""


def adapter_table(adapters: Iterable[Json]) -> Table:
    """Return one line an adapter."""
    table = _table("id", "status", "base model", "method", "size", "job", "created")
    for adapter in adapters:
        table.add_row(
            Text(adapter["id"]),
            Text(adapter["status"], style="yellow" if adapter["status"] == "quarantined" else ""),
            Text(printable(adapter.get("base_model") or "")),
            Text(adapter.get("method_type") or ""),
            Text(size(adapter.get("bytes"))),
            Text(adapter.get("job_id") or ""),
            Text(_moment(adapter.get("created_at"))),
        )
    return table


def answers(answered: Json, questions: Sequence[str]) -> RenderableType:
    """Return what adapter and base model said to each question, side by side as far as both were asked.

    What was cut short ends in `[...]`.
    """
    rows: Sequence[Json] = answered["answers"]
    sides = [side for side in ("base", "adapter") if any(row.get(side) for row in rows)]
    table = Table(expand=True, show_lines=True)
    table.add_column("asked", ratio=2)
    for side in sides:
        table.add_column(side, ratio=3)
    for row in rows:
        table.add_row(Text(_shown(questions[row["index"]])), *(Text(_said(row.get(side))) for side in sides))
    return table


def _said(said: Json | None) -> str:
    """Return an answer, of which one may not know that it was cut."""
    if not said:
        return ""
    return _shown(said["text"]) + ("" if said.get("finish_reason", "stop") == "stop" else " [...]")


def _shown(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def size(n: int | None) -> str:
    """Return a number of bytes to read.

    Example:
        >>> size(999), size(7_340_032), size(None)
        ('999 B', '7.3 MB', '')
    """
    if n is None:
        return ""
    value, unit = float(n), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{n} B"


def _moment(at: str | None) -> str:
    return (at or "")[:16].replace("T", " ")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name in {"id", "job", "status"})
    return table
