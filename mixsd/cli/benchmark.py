"""`mixsd benchmark`: what a model knows, and what an adapter has cost it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mixsd.cli._errors import explained
from mixsd.cli._lists import Lists
from mixsd.cli.library import Cache, Device, Revision, Threads

cli = typer.Typer()


@cli.command(cls=Lists)
def benchmark(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Base model: a built-in id, or `owner/name` of a hub.")
    ],
    suites: Annotated[list[str], typer.Option(help="Benchmarks to run; docs/benchmarks.md lists them.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.", file_okay=False)],
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter, to compare.", exists=True, file_okay=False)
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="SUITE=PATH", help="File or folder of a benchmark's data.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="MIXSD_BENCHMARK_DATA", help="Folder with a data set in each folder."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Items of each benchmark.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Items side by side.", min=1, max=1024)] = 16,
    max_new_tokens: Annotated[int | None, typer.Option(help="Cap of long answers.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of draws at temperature 1.", min=0)] = 0,
    confidence: Annotated[float, typer.Option(help="Of the intervals.", min=0.5, max=0.999)] = 0.95,
    revision: Revision = None,
    cache: Cache = None,
    device: Device = "auto",
    threads: Threads = 0,
    *,
    chat_template: Annotated[
        bool,
        typer.Option("--chat-template", help="Put prompts of lm-evaluation-harness into the chat template."),
    ] = False,
    cache_results: Annotated[
        bool, typer.Option(help="Take results of an equal run, and keep new ones for runs to come.")
    ] = True,
) -> None:
    """Run benchmarks on a base model and an adapter of it: OUT/benchmark.json, OUT/items.

    Expected failures end with one line and exit status 2; nothing is written then.
    """
    with explained(status=2):
        from mixsd.benchmarks.catalogue import DATA_OF, suites_of
        from mixsd.benchmarks.data import paths_from
        from mixsd.benchmarks.suite import Options
        from mixsd.models.registry import check_id, default_cache

        check_id(model)
        names = [name for word in suites for name in word.split(",") if name]
        options = Options(limit, batch_size, max_new_tokens, chat_template, seed)
        chosen = suites_of(names, options, paths=paths_from(data or (), DATA_OF), folder=data_dir)

        from mixsd.benchmarks.cache import FOLDER, ResultCache
        from mixsd.benchmarks.running import run, write_report
        from mixsd.cli._bars import bars
        from mixsd.config import EvalConfig
        from mixsd.models.load import load_base, use_threads
        from mixsd.models.store import pull

        models = cache or default_cache()
        with bars() as on_phase:
            found = pull(model, cache=models, revision=revision, on_progress=on_phase("preparing"))
            use_threads(threads)
            base = load_base(found, device=device)
            kept = ResultCache(models / FOLDER) if cache_results else None
            outcomes = run(base, chosen, adapter=adapter, cache=kept, on_phase=on_phase)
        report = write_report(
            out,
            base,
            outcomes,
            adapter=adapter,
            resamples=EvalConfig().bootstrap,
            confidence=confidence,
        )
        _tell(report)
        typer.echo(str(out / "benchmark.json"))


def _tell(report: dict[str, Any]) -> None:
    for suite in report["suites"]:
        for score in suite["scores"]:
            typer.echo(f"{suite['suite']} {_line(score)}", err=True)
        for note in suite["notes"]:
            typer.echo(f"mixsd: {suite['suite']}: {note}", err=True)
        if suite["left_out"]:
            typer.echo(
                f"mixsd: {suite['suite']}: {len(suite['left_out'])} items do not fit the model", err=True
            )
    for mean in report["means"]:
        line = f"mean of {len(mean['suites'])} ({mean['name']}): {mean['base']:.3f}"
        if "adapter" in mean:
            line += f" before; {mean['adapter']:.3f} after; difference {mean['difference']:+.3f}"
        typer.echo(line, err=True)


def _line(score: dict[str, Any]) -> str:
    if not score["n"]:
        return f"({score['metric']}): no item fits the model"
    line = (
        f"({score['metric']}, n {score['n']}): {score['base']:.3f}, "
        f"{score['base_low']:.3f} to {score['base_high']:.3f}"
    )
    if score["difference"] is None:
        return line
    return (
        f"{line} before; {score['adapter']:.3f} after; difference {score['difference']:+.3f}, "
        f"interval {score['low']:+.3f} to {score['high']:+.3f}"
    )
