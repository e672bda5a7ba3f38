"""`mixsd adapters`: list what a service has made, fetch it, and ask it."""

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mixsd.cli._remote import (
    AWAY,
    HERE,
    REFUSED,
    AsJson,
    Key,
    Url,
    VariantNumber,
    asking,
    put,
    put_row,
    say,
    show,
)

if TYPE_CHECKING:
    from mixsd.cli.client import Client, RefusedError

adapters = typer.Typer(no_args_is_help=True, help="List, fetch and ask the adapters of a service.")

_UNAVAILABLE: Final = "inference_unavailable"
_QUARANTINED: Final = "adapter_quarantined"

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
        from mixsd.cli.tables import adapter_table

        show(adapter_table(list(found)))


@adapters.command()
def pull(
    adapter: AdapterId,
    to: Annotated[Path | None, typer.Option(help="Folder to make; else one named by the adapter.")] = None,
    variant: VariantNumber = None,
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

        adapter_id = adapter_of(client, adapter, variant)
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


@adapters.command("import")
def import_adapter(
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder that peft has saved, or a .tar.gz or .zip of it.")
    ],
    base_model: Annotated[str, typer.Option(help="What it was trained on, as a job would name it.")],
    revision: Annotated[str, typer.Option(help="Of the base model.")] = "",
    facts: Annotated[str, typer.Option(help="Fact set that it was taught, if the service has it.")] = "",
    label: Annotated[str, typer.Option(help="What to call it.")] = "",
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Bring an adapter in that was made elsewhere, and print its id. It is checked before it is stored."""
    from mixsd.cli.packed import packed

    named = {"base_model": base_model, "revision": revision, "fact_set_id": facts, "label": label}
    with asking(url, key) as client, packed(source) as (archive, media_type):
        params = {name: value for name, value in named.items() if value}
        adapter = client.import_adapter(archive, media_type=media_type, params=params)
    if as_json:
        put(adapter)
    else:
        say("It is there as it is: `POST /evaluations` measures it.")
        typer.echo(adapter["id"])


@adapters.command("try")
def try_adapter(
    adapter: AdapterId,
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="What to ask.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Cap of an answer.")] = 128,
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    alone: Annotated[bool, typer.Option("--alone", help="Do not ask the base model beside it.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print answers while they are written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask an adapter, and its base model beside it. Exit status 3 if the service answers no questions.

    With --stream and --json, a line for each piece and each whole answer.
    """
    from mixsd.cli.client import RefusedError

    body = {"prompts": questions, "compare_base": not alone, "max_new_tokens": max_new_tokens}
    with asking(url, key) as client:
        adapter_id = adapter_of(client, adapter, variant)
        try:
            if stream:
                pieces = client.generate_by_pieces(adapter_id, body)
                _print_pieces(pieces, questions, alone=alone, as_json=as_json)
            else:
                _print_answers(client.generate(adapter_id, body), questions, as_json=as_json)
        except RefusedError as error:
            _say_if_it_cannot_be_asked(error)
            raise


def _print_answers(answered: dict[str, Any], questions: list[str], *, as_json: bool) -> None:
    if as_json:
        put(answered)
        return
    from mixsd.cli.tables import answers

    show(answers(answered, questions))


def _print_pieces(
    pieces: Iterable[dict[str, Any]], questions: list[str], *, alone: bool, as_json: bool
) -> None:
    if not as_json:
        from mixsd.cli.spoken import spoken

        for text in spoken(pieces, questions, ("adapter",) if alone else ("adapter", "base")):
            typer.echo(text, nl=False)
            sys.stdout.flush()
        return
    for piece in pieces:
        put_row(piece)
        sys.stdout.flush()


def _say_if_it_cannot_be_asked(error: "RefusedError") -> None:
    code, said = error.problem.get("code"), error.problem.get("detail", "")
    if code == _UNAVAILABLE:
        say(f"mixsd: nobody answers for it there ({said}); `mixsd adapters pull` fetches it [{_UNAVAILABLE}]")
        raise typer.Exit(AWAY)
    if code == _QUARANTINED:
        say(f"mixsd: {said} [{_QUARANTINED}]")
        raise typer.Exit(REFUSED)
    if error.status in {404, 405} and code in {None, "not_found", "method_not_allowed"}:
        say("mixsd: this service cannot answer questions: its version has no POST /adapters/{id}/generate")
        raise typer.Exit(AWAY)


def adapter_of(client: "Client", name: str, variant: int | None) -> str:
    """Return the id of an adapter, given that or the id of its job: of several, the recommended one."""
    if not name.startswith("job_"):
        if variant is not None:
            say("mixsd: --variant goes with the id of a job: an adapter has none [bad_request]")
            raise typer.Exit(REFUSED)
        return name
    job = client.job(name)
    made = {each["variant"]: each["adapter_id"] for each in job.get("variants") or ()}
    found: str | None = job.get("adapter_id") if variant is None else made.get(variant)
    if not found:
        which = "" if variant is None else f" of variant {variant}"
        say(f"mixsd: job {name} is {job['status']} and has no adapter{which}")
        raise typer.Exit(REFUSED)
    return found
