"""`mixsd facts`: look at facts before they are taught, and send them to a service."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mixsd.cli._remote import HERE, Key, Url, asking, tell
from mixsd.cli.conversion import convert, converted

if TYPE_CHECKING:
    from mixsd.intake.formats import Format
    from mixsd.intake.report import Report

facts = typer.Typer(no_args_is_help=True, help="Convert and check facts, and send them to a service.")
facts.command()(convert)

BAD: Final = 2
"""Exit status: something is wrong with the facts."""

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="JSONL, JSON, CSV, TSV, YAML or Parquet.", exists=True, dir_okay=False
    ),
]
FormatName = Annotated[
    str, typer.Option("--format", help="json, jsonl, csv, tsv, yaml or parquet; else the name's end says it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the service would answer, as JSON.")]


@facts.command()
def check(
    file: File,
    format_name: FormatName = "",
    *,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
) -> None:
    """Say what is wrong with a file, and what is suspicious. Exit status 2 if it would be refused."""
    with _readable():
        from mixsd.intake.report import check as check_file

        with file.open("rb") as content:
            report = check_file(content, format_of_file(file, format_name), today=_today())
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        _show(report)
    if not report.is_valid or (strict and report.counts):
        raise typer.Exit(BAD)


@facts.command()
def push(
    file: File,
    url: Url = HERE,
    key: Key = "",
    name: Annotated[str, typer.Option(help="Name of the set; the document's own goes before it.")] = "",
    format_name: FormatName = "",
    kind_name: Annotated[
        str, typer.Option("--from", help="Convert it first, as `mixsd facts convert` would.")
    ] = "",
    *,
    skip: Annotated[
        bool, typer.Option("--skip", help="Store the good facts, and report the others.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send a file to a service and print the id of the set. Exit status 2 if the facts are refused."""
    with (
        converted(file, kind_name, skip=skip) if kind_name else nullcontext(file) as facts_file,
        asking(url, key) as client,
    ):
        from mixsd.intake.formats import media_type_of

        kind = media_type_of(format_of_file(facts_file, "" if kind_name else format_name))
        made = client.push_facts(
            facts_file, media_type=kind, name=name, on_error="skip" if skip else "reject"
        )
    tell("left out", made["rejected"], made["total_rejected"])
    typer.echo(f"{made['n_facts']} facts, sha256 {made['sha256']}", err=True)
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else made["id"])


def _show(report: "Report") -> None:
    for problem in report.errors:
        typer.echo(f"error    {problem}")
    for warning in report.warnings:
        typer.echo(f"warning  {warning}")
    unlisted = report.total_errors - len(report.errors)
    if unlisted:
        typer.echo(f"and {unlisted} more errors")
    if sum(report.counts.values()) > len(report.warnings):
        counted = ", ".join(f"{count} {code}" for code, count in report.counts.items())
        typer.echo(f"all warnings: {counted}")
    verdict = f"{report.n_facts} facts are good" + (f", sha256 {report.sha256}" if report.is_valid else "")
    typer.echo(f"{verdict}; {report.total_errors} errors, {sum(report.counts.values())} warnings", err=True)


def _today() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC).date()


def format_of_file(file: Path, name: str) -> "Format":
    """Return the format of a file: the one that is named, else as the end of its name says, else JSONL."""
    from mixsd.intake.formats import Format, format_of

    if name and name not in list(Format):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Format)}", param_hint="--format")
    return Format(name) if name else format_of("", file.name) or Format.JSONL


@contextmanager
def _readable() -> Iterator[None]:
    """End with status 2 and one line where a file cannot be judged at all."""
    from mixsd.intake.parquet import NoParquetError

    try:
        yield
    except OSError as error:
        typer.echo(f"mixsd: {error.filename}: {error.strerror} [unreadable]", err=True)
        raise typer.Exit(1) from error
    except NoParquetError as error:
        typer.echo(f"mixsd: {error} [{error.code}]", err=True)
        raise typer.Exit(1) from error
