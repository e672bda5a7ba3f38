"""What commands that speak to a service have in common: where it is, what they print, how they end.

Results go to stdout, everything else to stderr; so do `--json` documents and what is said about them.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from mixsd.cli.client import Client, RefusedError, ServiceError, UnreachableError

if TYPE_CHECKING:
    from rich.console import RenderableType

FAILED: Final = 1
"""Exit status: the job failed or was cancelled, or an answer is not what it should be."""
REFUSED: Final = 2
"""Exit status: the command was used wrongly, or the service refused."""
AWAY: Final = 3
"""Exit status: the service is out of reach."""
INTERRUPTED: Final = 130
"""Exit status: Ctrl-C."""

_SERVER_ERROR: Final = 500
_UNAUTHORIZED: Final = 401

Url = Annotated[str, typer.Option(envvar="MIXSD_URL", help="Where the service is.")]
Key = Annotated[str, typer.Option(envvar="MIXSD_API_KEY", show_default=False, help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or of lists a line a row.")]

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
VariantNumber = Annotated[
    int | None, typer.Option("--variant", min=0, help="Of a job that makes several adapters: which, from 0.")
]

HERE: Final = "http://127.0.0.1:8000"
WIDTH: Final = 140
"""Columns of a table where it goes to a file and not to a terminal."""


@contextmanager
def asking(url: str, key: str) -> Iterator[Client]:
    """Give a client; what goes wrong within the block ends the command with its message and status."""
    try:
        with Client(url, key=key) as client:
            yield client
    except KeyboardInterrupt:
        say("mixsd: stopped")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        say(f"mixsd: {error.filename or ''}: {error.strerror or error} [unreadable]")
        raise typer.Exit(REFUSED) from error
    except ServiceError as error:
        say_why(error)
        raise typer.Exit(status_of(error)) from error


@contextmanager
def left_alone(job_id: str) -> Iterator[None]:
    """Say on Ctrl-C that the job goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if job_id:
            say(f"Stopped watching; the job goes on. `mixsd jobs watch {job_id}` takes it up again,")
            say(f"`mixsd jobs cancel {job_id}` ends it.")
        raise typer.Exit(INTERRUPTED) from None


def say_why(error: ServiceError) -> None:
    """Print a failure, with every problem that the service has listed."""
    if isinstance(error, RefusedError) and "errors" in error.problem:
        tell("error", error.problem["errors"], error.problem.get("total_errors", 0))
        say(f"mixsd: {error.problem['detail']} [{error.problem['code']}]")
        return
    say(f"mixsd: {error} [{error.code}]" if not isinstance(error, RefusedError) else f"mixsd: {error}")
    if isinstance(error, RefusedError) and error.status == _UNAUTHORIZED:
        say("Give an API key with --key or MIXSD_API_KEY; `mixsd keys create` makes one, see docs/access.md.")


def status_of(error: ServiceError) -> int:
    """Return the exit status that a failure ends a command with."""
    if isinstance(error, UnreachableError):
        return AWAY
    if isinstance(error, RefusedError):
        return AWAY if error.status >= _SERVER_ERROR else REFUSED
    return FAILED


def tell(word: str, found: list[dict[str, Any]], total: int) -> None:
    """Print problems as the service describes them."""
    from mixsd.facts import Problem

    names = ("code", "detail", "line", "column", "pointer", "fact_key")
    for problem in found:
        fields: dict[str, Any] = {name: problem.get(name) for name in names}
        say(f"{word}  {Problem(**fields)}")
    if total > len(found):
        say(f"and {total - len(found)} more")


def say(line: str) -> None:
    """Print a line that is no result."""
    typer.echo(line, err=True)


def put(document: Any) -> None:
    """Print a JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def put_row(row: Any) -> None:
    """Print one line of JSON."""
    typer.echo(json.dumps(row, ensure_ascii=False))


def show(what: "RenderableType", stream: TextIO | None = None) -> None:
    """Print a table or the like, to stdout if no stream is named."""
    from rich.console import Console

    stream = stream or sys.stdout
    Console(file=stream, width=None if stream.isatty() else WIDTH).print(what)
