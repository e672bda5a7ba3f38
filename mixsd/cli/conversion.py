"""`mixsd facts convert`: files of other projects as facts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mixsd.cli._errors import explained

if TYPE_CHECKING:
    from mixsd.conversion.converting import Converted
    from mixsd.conversion.kinds import Kind
    from mixsd.facts import Digest

REFUSED = 2
"""Exit status: a record makes no fact, or the file cannot be read."""


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What another project wrote.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Where the facts go, as JSONL.", dir_okay=False)],
    kind_name: Annotated[
        str,
        typer.Option(
            "--from",
            help="qna, knowedit, easyedit, mquake, counterfact, zsre, simpleqa, chat, csv, jsonld or rdf; "
            "else the file shows it.",
        ),
    ] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="Of a table: question=Frage. Several times for several.")
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="Of a graph: how each relation is asked, in YAML.", exists=True, dir_okay=False),
    ] = None,
    language: Annotated[str, typer.Option(help="Of a graph: which of several texts is taken.")] = "en",
    context: Annotated[
        list[str] | None, typer.Option(help="Of JSON-LD: ADDRESS=FILE for a context that lies elsewhere.")
    ] = None,
    *,
    skip: Annotated[
        bool, typer.Option("--skip", help="Write what makes facts, and report the rest.")
    ] = False,
) -> None:
    """Turn a file of another project into facts. Exit status 2 if a record makes none.

    Prints the digest of the facts, as `mixsd facts check` does.
    """
    with explained(status=REFUSED):
        from mixsd.conversion.columns import columns_from
        from mixsd.conversion.contexts import files_from
        from mixsd.conversion.converting import Options, convert

        kind = _kind_of(file, kind_name)
        options = Options(
            columns=columns_from(column or ()),
            templates=templates,
            language=language,
            contexts=files_from(context or ()),
        )
        made = convert(file, kind, options)
        _tell(made, skip=skip)
        _write(made, file, out, skip=skip)


@contextmanager
def converted(file: Path, kind_name: str, *, skip: bool) -> Iterator[Path]:
    """Give a file of facts in JSONL that was made of another; bad records end the command."""
    with explained(status=REFUSED), TemporaryDirectory() as folder:
        from mixsd.conversion.converting import convert as made_of

        made = made_of(file, _kind_of(file, kind_name))
        _tell(made, skip=skip)
        out = Path(folder) / f"{file.stem}.jsonl"
        _store(made, file, out, skip=skip)
        yield out


def _kind_of(file: Path, name: str) -> "Kind":
    """Return the kind that is named, else the one that the file shows."""
    from mixsd.conversion.kinds import Kind, detect

    if not name:
        kind = detect(file)
        typer.echo(f"{file.name} is read as {kind}", err=True)
        return kind
    if name not in list(Kind):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Kind)}", param_hint="--from")
    return Kind(name)


def _tell(made: "Converted", *, skip: bool) -> None:
    for problem in made.problems:
        typer.echo(f"{'left out' if skip else 'error'}  {problem}", err=True)
    if made.total > len(made.problems):
        typer.echo(f"and {made.total - len(made.problems)} more", err=True)
    for note in made.notes:
        typer.echo(f"mixsd: {note}", err=True)


def _write(made: "Converted", file: Path, out: Path, *, skip: bool) -> None:
    digest = _store(made, file, out, skip=skip)
    typer.echo(f"{out}: {digest.n_facts} facts", err=True)
    typer.echo(digest.sha256)


def _store(made: "Converted", file: Path, out: Path, *, skip: bool) -> "Digest":
    """Write the facts to a file.

    Raises:
        ConversionError: A record makes no fact and is not to be left out, or there is no fact.
    """
    from mixsd.conversion.errors import ConversionError
    from mixsd.durable import write_whole
    from mixsd.facts import Digest

    if made.total and not skip:
        raise ConversionError(
            f"{file.name}: nothing was written: {made.total} records make no fact; mend them, or leave them "
            "out with --skip"
        )
    if not made.facts:
        raise ConversionError(f"{file.name}: nothing was written: there is no fact in it")
    digest = Digest()
    write_whole(out, b"".join(map(digest.add, made.facts)))
    return digest
