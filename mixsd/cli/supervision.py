"""`mixsd supervision`: what the base model wrote, for other trainers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mixsd.cli._errors import explained
from mixsd.cli._remote import HERE, REFUSED, Key, Url, VariantNumber, asking, say

supervision = typer.Typer(no_args_is_help=True, help="What the base model wrote, for other trainers.")


@supervision.callback()
def about() -> None:
    """Keep `export` a word of its own, beside which others may come."""


@supervision.command()
def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_JOB", help="Folder of a run, or id of a job of a service.")
    ],
    out: Annotated[Path, typer.Option(help="Where the chats go, one a line.", dir_okay=False)],
    form: Annotated[str, typer.Option("--format", help="chat, prompt-completion or sharegpt.")] = "chat",
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
) -> None:
    """Write the texts that training takes as chats: a question and its text a line."""
    from mixsd.exporting import ChatFormat

    if form not in list(ChatFormat):
        raise typer.BadParameter(f"{form!r} is none of {', '.join(ChatFormat)}", param_hint="--format")
    if Path(source).is_dir():
        if variant is not None:
            raise typer.BadParameter("a folder has one variant", param_hint="--variant")
        with explained(status=REFUSED):
            from mixsd.exporting import lines_of_run

            _write(out, lines_of_run(Path(source), ChatFormat(form)))
        return
    if "/" in source or not source:
        raise typer.BadParameter(f"{source}: there is no such folder", param_hint="RUN_OR_JOB")
    query = f"format={form}" + ("" if variant is None else f"&variant={variant}")
    with (
        asking(url, key) as client,
        client.stream(f"/jobs/{source}/supervision?{query}") as answer,
    ):
        _write(out, (line + "\n" for line in answer.iter_lines() if line))


def _write(out: Path, lines: Iterator[str]) -> None:
    """Write lines to a file, which is complete or absent afterwards, and say how many there are."""
    partial = out.with_name(f"{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line)
                count += 1
        if not count:
            say("mixsd: there is no text that training takes; nothing was written [no_supervision]")
            raise typer.Exit(REFUSED)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    say(f"{out}: {count} chats")
