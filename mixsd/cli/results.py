"""`mixsd jobs`, the commands that read what came of a job: facts, report, events, log, metrics."""

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mixsd.cli._remote import (
    HERE,
    REFUSED,
    AsJson,
    JobId,
    Key,
    Url,
    VariantNumber,
    asking,
    left_alone,
    put,
    put_row,
    say,
    show,
)

if TYPE_CHECKING:
    from mixsd.cli.client import Client

results = typer.Typer()

METRICS: Final = ("name", "step", "value", "variant", "phase", "attempt", "at")
"""Columns of the table of metrics."""


class Form(StrEnum):
    """What a report can be written as."""

    MARKDOWN = "md"
    HTML = "html"
    JSON = "json"


@results.command()
def facts(
    job: JobId,
    outcome: Annotated[str, typer.Option(help="Only those that ended so: learned, regressed, ...")] = "",
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Show the verdict on every fact; of several variants, of the recommended one."""
    with asking(url, key) as client:
        found = client.facts(job, outcome, variant)
        if as_json:
            for row in found:
                put_row(row)
            return
        from mixsd.cli.render import fact_table

        show(fact_table(list(found)))


@results.command()
def report(
    job: JobId,
    form: Annotated[Form | None, typer.Option("--format", help="As a document of that form.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write it to; its name may say the form.")] = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Show what was learned, what was lost, how variants compare, and how long it took."""
    form = form or (Form.JSON if as_json else _form_of(out))
    with asking(url, key) as client:
        if form is None:
            _show_report(client, job)
        elif out is None and form is Form.JSON:
            put(client.report(job))
        else:
            text = client.text(f"/jobs/{job}/report", {"format": form.value})
            if out is None:
                typer.echo(text, nl=False)
            else:
                out.write_text(text, encoding="utf-8")
                say(f"The report is in {out}.")


def _form_of(out: Path | None) -> Form | None:
    """Return the form that the name of a file says."""
    if out is None:
        return None
    forms = {".md": Form.MARKDOWN, ".html": Form.HTML, ".json": Form.JSON}
    if out.suffix not in forms:
        say(f"mixsd: say with --format what to write to {out}: md, html or json [bad_request]")
        raise typer.Exit(REFUSED)
    return forms[out.suffix]


def _show_report(client: "Client", job: str) -> None:
    from rich.console import Group
    from rich.text import Text

    from mixsd.cli.render import report as shown
    from mixsd.cli.variants import is_sweep, variants

    body = client.report(job)
    parts = shown(body, list(client.facts(job)))
    show(Group(parts, Text(), variants(body)) if is_sweep(body) else parts)


@results.command()
def events(
    job: JobId,
    url: Url = HERE,
    key: Key = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what happened to a job, in order."""
    with asking(url, key) as client, left_alone(job if follow else ""):
        from mixsd.cli.live import event_line, followed
        from mixsd.cli.render import printable

        for event in followed(client, job) if follow else client.every(f"/jobs/{job}/events"):
            if as_json:
                put_row(event)
            else:
                typer.echo(printable(event_line(event)))
            sys.stdout.flush()


@results.command()
def logs(
    job: JobId,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only of this attempt.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, help="Only so many lines, the last ones.")] = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Print what the processes of a job printed, as far as it is kept."""
    query = _given(attempt=attempt, tail=tail)
    with asking(url, key) as client:
        if as_json:
            for row in client.every(f"/jobs/{job}/logs", query):
                put_row(row)
        else:
            text = client.text(f"/jobs/{job}/logs", query, accept="text/plain")
            typer.echo("".join(c for c in text if c.isprintable() or c in "\n\t"), nl=False)


@results.command()
def metrics(
    job: JobId,
    name: Annotated[str, typer.Option(help="Only this series: loss, learning_rate, recall, ...")] = "",
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Print what was measured while a job ran, as CSV: series after series, each by step."""
    query = _given(name=name or None, variant=variant)
    with asking(url, key) as client:
        points = client.every(f"/jobs/{job}/metrics", query)
        if as_json:
            for point in points:
                put_row(point)
            return
        table = csv.DictWriter(sys.stdout, METRICS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(points)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
