"""`mixsd compare`: methods on the same facts, in one table and one plot."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mixsd.cli._errors import explained
from mixsd.cli._lists import Lists
from mixsd.cli.library import (
    DEFAULT_MODEL,
    Cache,
    CacheSupervision,
    Device,
    Facts,
    Model,
    Revision,
    Threads,
    settings_in,
)

if TYPE_CHECKING:
    from mixsd.compare.methods import Common

cli = typer.Typer()

Methods = Annotated[
    list[str],
    typer.Option(
        "--methods",
        help="Presets such as sft, mixsd or in_context, names of --plans, or name=JSON with `method` and "
        "`training`. A name that is wrong shows those there are. All of --plans, else sft and mixsd.",
        show_default=False,
    ),
]
Seeds = Annotated[list[int], typer.Option("--seeds", help="A row for each.", min=0)]
By = Annotated[
    Literal["steps", "recall"],
    typer.Option("--match", help="Train each for --steps, or until it answers --recall of the questions."),
]
Steps = Annotated[int, typer.Option(help="Optimizer steps of each; with --match recall the most.", min=1)]
Recall = Annotated[float, typer.Option(help="Share of the training questions to reach.", min=0, max=1)]
Every = Annotated[int, typer.Option(help="Steps between two looks at recall.", min=1)]
Plans = Annotated[
    Path | None,
    typer.Option(help="Plans of your own by name, as TOML or JSON.", exists=True, dir_okay=False),
]
Config = Annotated[
    Path | None,
    typer.Option(help="JSON with `training` and `evaluation` of all methods.", exists=True, dir_okay=False),
]
Keep = Annotated[
    bool,
    typer.Option(
        "--keep",
        help="Keep what each row was trained on, and its adapter, in OUT/rows, for `mixsd analyse`. Rows "
        "that were made without are made again.",
    ),
]
Out = Annotated[
    Path, typer.Option(help="Folder of the comparison. Rows that are there are kept.", file_okay=False)
]


@cli.command(cls=Lists)
def compare(
    facts: Facts,
    out: Out,
    methods: Methods = [],  # noqa: B006  typer copies it
    match: By = "steps",
    steps: Steps = 96,
    recall: Recall = 0.9,
    every: Every = 8,
    seeds: Seeds = [0, 1, 2],  # noqa: B006  typer copies it
    plans: Plans = None,
    model: Model = DEFAULT_MODEL,
    config: Config = None,
    revision: Revision = None,
    cache: Cache = None,
    device: Device = "auto",
    threads: Threads = 0,
    *,
    keep: Keep = False,
    cache_supervision: CacheSupervision = True,
) -> None:
    """Teach the same facts by several methods, and show what each learned and lost.

    Writes OUT/compare.json, compare.md and, with matplotlib, compare.png and .svg. FACTS goes
    before --methods and --seeds, which take all values behind them.
    """
    with explained():
        from mixsd.compare.methods import DEFAULTS, Match, methods_of, read_plans
        from mixsd.intake.reading import read_facts
        from mixsd.models.registry import check_id, default_cache

        read = read_facts(facts)
        own = read_plans(plans) if plans else {}
        chosen = methods_of(methods or [*own] or DEFAULTS, own)
        budget = Match(match, steps, recall, every)
        common = _common(config)
        for method in chosen:
            method.plan(0, budget, common)
        check_id(model)

        from mixsd.cache import FILE, SupervisionCache
        from mixsd.cli._bars import bars
        from mixsd.compare.comparison import Comparison, cells_of
        from mixsd.models.load import load_base, use_threads
        from mixsd.models.store import pull

        cells = cells_of(chosen, seeds, budget, common)
        models = cache or default_cache()
        with bars(keep=False) as on_phase:
            found = pull(model, cache=models, revision=revision, on_progress=on_phase("preparing"))
            use_threads(threads)
            with SupervisionCache(models / FILE) if cache_supervision else nullcontext() as texts:
                comparison = Comparison(
                    out=out,
                    load=lambda: load_base(found, device=device),
                    facts=read,
                    cells=cells,
                    match=budget,
                    on_phase=on_phase,
                    on_row=_tell,
                    cache=texts,
                    keep=keep,
                )
                document = comparison.run()
        _report(document, out)


def _common(path: Path | None) -> "Common":
    """Read the settings of all methods.

    Raises:
        ConfigError: They name a method.
    """
    from mixsd.compare.methods import Common
    from mixsd.errors import ConfigError

    options = settings_in(path)
    if "method" in options:
        raise ConfigError(f"{path}: `method` is named by --methods or --plans in a comparison")
    return Common(**options)


def _tell(row: dict[str, Any]) -> None:
    seed = "" if row["seed"] is None else f", seed {row['seed']}"
    if "error" in row:
        typer.echo(f"{row['method']}{seed}: failed: {row['error']['message']}", err=True)
        return
    said = [f"{suite} {score['adapter']:.3f}" for suite, score in row["scores"].items()]
    typer.echo(f"{row['method']}{seed}: {row['steps'] or 0} steps; {', '.join(said)}", err=True)


def _report(document: dict[str, Any], out: Path) -> None:
    """Write table and plot, and say where they are.

    Raises:
        typer.Exit: A row failed.
    """
    from mixsd.compare.plot import NoMatplotlibError, draw
    from mixsd.compare.table import markdown
    from mixsd.durable import write_whole

    table = out / "compare.md"
    write_whole(table, markdown(document).encode())
    typer.echo(str(table))
    try:
        for path in draw(document, out):
            typer.echo(str(path))
    except NoMatplotlibError as error:
        typer.echo(f"mixsd: {error}", err=True)
    if failed := sum("error" in row for row in document["rows"]):
        typer.echo(f"mixsd: {failed} rows failed; the same command tries them again", err=True)
        raise typer.Exit(1)
