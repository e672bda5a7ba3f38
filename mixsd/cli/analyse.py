"""`mixsd analyse`: what runs were made of, and what they did to the model."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mixsd.cli._errors import explained
from mixsd.cli.library import Cache, Device, Threads

if TYPE_CHECKING:
    from mixsd.analysis.runs import Found
    from mixsd.inject import OnPhase
    from mixsd.models.load import Base

cli = typer.Typer()


class Name(StrEnum):
    """An analysis that can be asked for."""

    NATS = "nats"
    FISHER = "fisher"
    FRONTIER = "frontier"


Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Folders of `mixsd inject` or `mixsd compare`, of one base model.",
        exists=True,
        file_okay=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the analyses; left out: `analysis` in the first RUN.", file_okay=False),
]
Only = Annotated[
    list[Name] | None,
    typer.Option(help="Make this analysis; give it several times. Left out: all there can be."),
]
Fact = Annotated[
    str | None, typer.Option(help="Key of a fact: show where its tokens came from, and no more.")
]
Tau = Annotated[float, typer.Option(help="Nats above which a token counts as unlikely.", min=0)]
Unit = Annotated[
    Literal["sequence", "token"],
    typer.Option(
        help="What the Fisher squares a gradient of: whole answers, or each token, which takes far longer."
    ),
]
Samples = Annotated[
    int, typer.Option(help="Sampled answers to each prompt, for the Fisher.", min=1, max=1000)
]
Tokens = Annotated[int, typer.Option(help="Cap of an answer to a prompt, for the Fisher.", min=1, max=4096)]
Seed = Annotated[int, typer.Option(help="Names their draws.", min=0)]


@cli.command()
def analyse(
    runs: Runs,
    out: Out = None,
    only: Only = None,
    fact: Fact = None,
    tau: Tau = 5.0,
    fisher_unit: Unit = "sequence",
    fisher_samples: Samples = 2,
    fisher_tokens: Tokens = 64,
    seed: Seed = 0,
    cache: Cache = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Show what runs were trained on, how they moved the model, and what more naive tokens keep.

    Writes into OUT a folder for each analysis, with JSON, CSV and, with matplotlib, a figure, and
    OUT/index.html with all of them.
    """
    with explained():
        from mixsd.analysis.making import ALL, Settings, Work
        from mixsd.analysis.runs import find_runs
        from mixsd.cli._bars import bars

        found = find_runs(runs)
        settings = Settings(tau, fisher_unit, fisher_samples, fisher_tokens, seed)
        with bars(keep=False) as on_phase:
            work = Work(
                found=found,
                out=out or runs[0] / "analysis",
                load=lambda: _loaded(found, cache, device, threads, on_phase),
                settings=settings,
                on_phase=on_phase,
            )
            paths = work.fact(fact) if fact is not None else work.run(only or ALL, strict=only is not None)
        for line in work.said:
            typer.echo(f"mixsd: {line}", err=True)
        for path in paths:
            typer.echo(str(path))


def _loaded(found: "Found", cache: Path | None, device: str, threads: int, on_phase: "OnPhase") -> "Base":
    """Load the base model that the runs are of."""
    from mixsd.models.load import load_base, use_threads
    from mixsd.models.registry import default_cache
    from mixsd.models.store import pull

    model = found.base_model
    models = cache or default_cache()
    use_threads(threads)
    on_disk = pull(model["id"], cache=models, revision=model["revision"], on_progress=on_phase("preparing"))
    return load_base(on_disk, device=device)
