"""`mixsd adapters`: list what a service has made, fetch it, and ask it."""

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mixsd.cli._remote import AWAY, HERE, REFUSED, AsJson, Key, Url, asking, put, put_row, say

if TYPE_CHECKING:
    from mixsd.cli.client import Client, RefusedError

adapters = typer.Typer(no_args_is_help=True, help="List, fetch and ask the adapters of a service.")

_WIDTH: Final = 140
_UNAVAILABLE: Final = "inference_unavailable"

AdapterId = Annotated[str, typer.Argument(metavar="ADAPTER", help="Id of the adapter, or of its job.")]


@adapters.command("list")
def list_adapters(
    job: Annotated[str, typer.Option(help="Only those of this job.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List adapters, newest first."""
    with asking(url, key) as client:
        query = {"limit": min(limit, 100)} | ({"job_id": job} if job else {})
        found = islice(client.every("/adapters", query), limit)
        if as_json:
            for row in found:
                put_row(row)
            return
        from rich.console import Console

        from mixsd.cli.tables import adapter_table

        Console(width=None if sys.stdout.isatty() else _WIDTH).print(adapter_table(list(found)))


@adapters.command()
def pull(
    adapter: AdapterId,
    to: Annotated[Path | None, typer.Option(help="Folder to make; else one named by the adapter.")] = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch an adapter into a folder that `peft` can load, and print where it is.

    Every file is checked against its sha256. After Ctrl-C, or when the service goes away, the same
    command goes on where it was.
    """
    with asking(url, key) as client:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        from mixsd.cli.pull import pull as fetch

        adapter_id = _adapter_of(client, adapter)
        folder = to or Path(adapter_id)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
            task = bars.add_task(adapter_id, total=client.read(f"/adapters/{adapter_id}")["bytes"])
            files = fetch(client, adapter_id, folder, on_bytes=lambda n: bars.advance(task, n))
        say(f"{len(files)} files, all as their sha256 says.")
        if as_json:
            put({"adapter_id": adapter_id, "folder": str(folder), "files": files})
        else:
            typer.echo(str(folder))


@adapters.command("try")
def try_adapter(
    adapter: AdapterId,
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="What to ask.")],
    url: Url = HERE,
    key: Key = "",
    *,
    alone: Annotated[bool, typer.Option("--alone", help="Do not ask the base model beside it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask an adapter, and its base model beside it. Exit status 3 if the service answers no questions."""
    from mixsd.cli.client import RefusedError

    with asking(url, key) as client:
        adapter_id = _adapter_of(client, adapter)
        try:
            body = {"prompts": questions, "compare_base": not alone}
            answered = client.generate(adapter_id, body)
        except RefusedError as error:
            _say_if_nobody_answers(error)
            raise
        if as_json:
            put(answered)
            return
        from rich.console import Console

        from mixsd.cli.tables import answers

        Console(width=None if sys.stdout.isatty() else _WIDTH).print(answers(answered))


def _say_if_nobody_answers(error: "RefusedError") -> None:
    code = error.problem.get("code")
    if code == _UNAVAILABLE:
        say(f"mixsd: the service has no inference process to ask [{_UNAVAILABLE}]")
        said = error.problem.get("detail", "")
        say(f"{said}. `mixsd adapters pull` fetches the adapter, to be loaded with peft.".strip(". "))
        raise typer.Exit(AWAY)
    if error.status in {404, 405} and code in {None, "not_found", "method_not_allowed"}:
        say("mixsd: this service cannot answer questions: its version has no POST /adapters/{id}/generate")
        raise typer.Exit(AWAY)


def _adapter_of(client: "Client", name: str) -> str:
    """Return the id of an adapter, given that or the id of its job."""
    if not name.startswith("job_"):
        return name
    job = client.job(name)
    if not job.get("adapter_id"):
        say(f"mixsd: job {name} is {job['status']} and has no adapter")
        raise typer.Exit(REFUSED)
    found: str = job["adapter_id"]
    return found
