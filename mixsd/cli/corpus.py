"""`mixsd corpus`: what to teach and to measure with, as files. The digest goes to stdout."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixsd.cli._errors import explained

if TYPE_CHECKING:
    from mixsd.corpora.writing import Corpus

corpus = typer.Typer(no_args_is_help=True, help="Make a corpus: facts to teach and questions about them.")

Out = Annotated[Path, typer.Option(help="Folder of the corpus.")]
Seed = Annotated[int, typer.Option(help="Of every draw.")]


@corpus.command()
def kgfact(
    out: Out,
    size: Annotated[str, typer.Option(help="small, large, or DOMAINSxNAMES up to 14x50.")] = "small",
    seed: Seed = 42,
) -> None:
    """Facts of an invented world, with rewordings, reversed questions, two steps and contexts."""

    def make() -> "Corpus":
        from mixsd.corpora.kgfact import kgfact, size_of

        return kgfact(*size_of(size), seed=seed)

    _write(make, out)


@corpus.command()
def kgfunc(
    out: Out,
    train: Annotated[int, typer.Option(help="Facts to teach, spread evenly over the functions.")] = 1600,
    functions: Annotated[str, typer.Option(help="Letters of ABCDEFGHIJK.")] = "BCDEFGH",
    seed: Seed = 42,
) -> None:
    """Opaque functions on digits with worked answers, unseen ones, and one function in another."""

    def make() -> "Corpus":
        from mixsd.corpora.kgfunc import kgfunc

        return kgfunc(train, functions=functions, seed=seed)

    _write(make, out)


_PUBLIC = {
    "simpleqa": "SimpleQA: questions with short answers.",
    "mquake": "MQuAKE: edits, and questions of two to four steps; --limit is 100 facts unless given.",
    "counterfact": "CounterFact: edits, with neighbours that must stay.",
    "zsre": "zsRE: edits as questions, with neighbours that must stay.",
    "knowedit": "KnowEdit: edits, with what follows from them and what must stay.",
    "instructlab": "A file qna.yaml of InstructLab.",
    "csv": "A table with the columns question and answer, and other fields of facts.",
}


def _public(name: str, about: str) -> None:
    def command(
        out: Out,
        source: Annotated[
            str, typer.Option("--from", help="A file, or `hub`, or `hub:OWNER/NAME[:SPLIT[:FILE]]`.")
        ],
        limit: Annotated[int | None, typer.Option(help="Most facts.")] = None,
        seed: Seed = 42,
    ) -> None:
        def make() -> "Corpus":
            from mixsd.corpora.public import public

            return public(name, source, limit=limit, seed=seed)

        _write(make, out)

    corpus.command(name, help=about)(command)


for _name, _about in _PUBLIC.items():
    _public(_name, _about)


def _write(make: Callable[[], "Corpus"], out: Path) -> None:
    """Make and write a corpus, and print its digest; bad input ends with exit status 2."""
    with explained(status=2):
        from mixsd.corpora.writing import write

        document = write(make(), out)
    _tell(document, out)


def _tell(document: dict[str, Any], out: Path) -> None:
    for name, count in document["counts"].items():
        typer.echo(f"{out / name}: {count}", err=True)
    for note in document["notes"]:
        typer.echo(f"mixsd: {note}", err=True)
    typer.echo(document["sha256"])
