"""The library's own commands: facts in, a folder out, no service. Each goes on where one stopped."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixsd.cli._errors import explained

if TYPE_CHECKING:
    from mixsd.config import Plan
    from mixsd.facts import Fact
    from mixsd.inject import OnPhase, Workspace
    from mixsd.living import Parent as ParentAdapter
    from mixsd.models.load import Base
    from mixsd.supervision import Supervision

cli = typer.Typer()

Facts = Annotated[
    Path,
    typer.Argument(
        metavar="FACTS", help="Facts: JSONL, JSON, CSV, TSV, YAML or Parquet.", exists=True, dir_okay=False
    ),
]
Model = Annotated[str, typer.Option(help="Base model: a built-in id, or `owner/name` of a hub.")]
Out = Annotated[Path, typer.Option(help="Folder of the run.", file_okay=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        help="JSON with `method`, `training` and `evaluation`, as in `POST /jobs`.",
        exists=True,
        dir_okay=False,
    ),
]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch of the model.")]
Cache = Annotated[Path | None, typer.Option(envvar="MIXSD_MODEL_CACHE", help="Where base models lie.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int, typer.Option(help="Threads on the CPU; 0 takes one for each core.", min=0)]

CacheSupervision = Annotated[
    bool, typer.Option(help="Take texts that an equal run has made, and keep new ones for runs to come.")
]

Parent = Annotated[
    Path | None,
    typer.Option("--from", help="Adapter to start from: its folder.", exists=True, file_okay=False),
]
Previous = Annotated[
    Path | None,
    typer.Option(help="Facts that the adapter of --from was taught.", exists=True, dir_okay=False),
]

DEFAULT_MODEL = "smollm2-135m-instruct"


def _command(step: Callable[["Workspace"], None]) -> Callable[["Workspace"], None]:
    """Make a command of a step. All of them take the same options."""

    def command(
        facts: Facts,
        out: Out,
        model: Model = DEFAULT_MODEL,
        config: Config = None,
        revision: Revision = None,
        cache: Cache = None,
        device: Device = "auto",
        threads: Threads = 0,
        *,
        cache_supervision: CacheSupervision = True,
        parent: Parent = None,
        previous: Previous = None,
    ) -> None:
        with _workspace(
            facts,
            out,
            model,
            config,
            revision,
            cache,
            device,
            threads,
            cache_supervision=cache_supervision,
            start=(parent, previous),
        ) as workspace:
            step(workspace)

    cli.command(step.__name__, help=step.__doc__)(command)
    return step


@_command
def generate(workspace: "Workspace") -> None:
    """Have the base model write supervision for the facts: OUT/supervision.jsonl."""
    records = workspace.generate()
    supervised = {record.fact_key for record in records if record.trainable}
    typer.echo(f"{len(supervised)} of {len(workspace.facts)} facts have a text", err=True)
    typer.echo(str(workspace.out / "supervision.jsonl"))


@_command
def train(workspace: "Workspace") -> None:
    """Train an adapter on the supervision, which is made first if need be: OUT/weights."""
    summary = workspace.train()
    typer.echo(f"{summary['steps']} steps, last loss {summary['last_loss']:.3f} nats per token", err=True)
    typer.echo(str(workspace.out / "weights"))


@_command
def evaluate(workspace: "Workspace") -> None:
    """Measure what was learned and what was lost, and pack the adapter: OUT/report.json, OUT/adapter."""
    _evaluate(workspace)


@_command
def inject(workspace: "Workspace") -> None:
    """Do it all: supervision, training, evaluation, adapter."""
    workspace.baseline()
    workspace.generate()
    workspace.train()
    _evaluate(workspace)


@cli.command()
def sweep(
    facts: Facts,
    lam: Annotated[list[float], typer.Option(help="A value to try. Give it several times.", min=0, max=1)],
    model: Model = DEFAULT_MODEL,
    config: Config = None,
    revision: Revision = None,
    cache: Cache = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Write supervision at several values of lam in one run, and print what each gives, as JSON.

    The other settings are those of a `mixsd` method; `lam_backoff` is left out. Nothing is trained.
    """
    with _loaded(facts, model, config, revision, cache, device, threads) as (base, read, plan, on_phase):
        from mixsd.config import MixConfig
        from mixsd.errors import ConfigError
        from mixsd.generation import sweep as run_sweep
        from mixsd.supervision import summary

        if not isinstance(plan.method, MixConfig):
            raise ConfigError("lam is swept for the method mixsd alone: the settings name another")
        made: dict[float, list[Supervision]] = {value: [] for value in lam}
        for value, record in run_sweep(base, read, plan.method, made, on_progress=on_phase("generating")):
            made[value].append(record)
        rows = [{"lam": value, **summary(records)} for value, records in made.items()]
        typer.echo(json.dumps(rows, indent=2))


def _evaluate(workspace: "Workspace") -> None:
    from mixsd.evaluation.said import mistake_lines

    judgement = workspace.evaluate()
    counts = ", ".join(f"{count} {name}" for name, count in judgement.counts.items() if count)
    typer.echo(counts, err=True)
    for score in judgement.scores:
        typer.echo(
            f"{score.suite} ({score.metric}, n {score.n}): "
            f"{score.base:.3f} before, {score.adapter:.3f} after; "
            f"difference {score.difference:+.3f}, interval {score.low:+.3f} to {score.high:+.3f}",
            err=True,
        )
    for line in mistake_lines(judgement.mistakes):
        typer.echo(f"wrong answers of {line}", err=True)
    if judgement.gate:
        _tell_gate(judgement.gate.to_json())
    typer.echo(str(workspace.out / "adapter"))


def _tell_gate(gate: dict[str, Any]) -> None:
    from mixsd.evaluation.said import gate_line

    typer.echo(gate_line(gate), err=True)
    if gate["status"] == "failed":
        typer.echo("The adapter lost more than its gate allows: look before you use it.", err=True)


@contextmanager
def _workspace(
    facts: Path,
    out: Path,
    model: str,
    config: Path | None,
    revision: str | None,
    cache: Path | None,
    device: str,
    threads: int,
    *,
    cache_supervision: bool,
    start: tuple[Path | None, Path | None],
) -> Generator["Workspace"]:
    with _loaded(facts, model, config, revision, cache, device, threads, start=start) as loaded:
        base, read, plan, on_phase = loaded
        from mixsd.cache import FILE, SupervisionCache
        from mixsd.inject import Workspace
        from mixsd.models.registry import default_cache

        file = (cache or default_cache()) / FILE
        with SupervisionCache(file) if cache_supervision else nullcontext() as texts:
            workspace = Workspace(out, base, read, plan, on_phase, texts, _parent(start, base, read))
            workspace.open()
            yield workspace


def _parent(
    start: tuple[Path | None, Path | None], base: "Base", facts: list["Fact"]
) -> "ParentAdapter | None":
    """Return what to start from, with the texts of its run if it lies in the folder of that."""
    from mixsd.inject import SUPERVISION
    from mixsd.intake.reading import read_facts
    from mixsd.parent import parent_of, texts_beside

    folder, previous = start
    if folder is None or previous is None:
        return None
    return parent_of(folder, base, facts, read_facts(previous), texts_beside(folder, SUPERVISION))


@contextmanager
def _loaded(
    facts: Path,
    model: str,
    config: Path | None,
    revision: str | None,
    cache: Path | None,
    device: str,
    threads: int,
    *,
    start: tuple[Path | None, Path | None] = (None, None),
) -> Generator[tuple["Base", list["Fact"], "Plan", "OnPhase"]]:
    """Read everything that may be wrong before the heavy libraries are loaded; then load them."""
    with explained():
        from mixsd.cli._bars import bars
        from mixsd.intake.reading import read_facts
        from mixsd.models.registry import check_id, default_cache
        from mixsd.options import plan_from

        read = read_facts(facts)
        plan = plan_from(**_options(config, *start))
        check_id(model)

        from mixsd.models.load import load_base, use_threads
        from mixsd.models.store import pull

        models = cache or default_cache()
        with bars() as on_phase:
            found = pull(model, cache=models, revision=revision, on_progress=on_phase("preparing"))
            use_threads(threads)
            yield load_base(found, device=device), read, plan, on_phase


def _options(config: Path | None, parent: Path | None, previous: Path | None) -> dict[str, dict[str, Any]]:
    """Return the settings of a run; what they leave open of the adapter's shape is that of the parent.

    Raises:
        ConfigError: Of parent and previous facts there is one alone.
    """
    from mixsd.errors import ConfigError
    from mixsd.parent import manifest_in, shaped

    if (parent is None) != (previous is None):
        raise ConfigError("--from and --previous go together: the adapter, and the facts that it was taught")
    options = settings_in(config)
    if parent is not None:
        options["training"] = shaped(options.get("training", {}), manifest_in(parent))
    return options


def settings_in(path: Path | None) -> dict[str, dict[str, Any]]:
    """Read the settings from a file of theirs.

    Raises:
        ConfigError: It is no such file.
    """
    from mixsd.errors import ConfigError

    if path is None:
        return {}
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    parts = ("method", "training", "evaluation")
    if not isinstance(options, dict) or not all(isinstance(options[name], dict) for name in options):
        raise ConfigError(f"{path}: expected an object with {', '.join(parts)}")
    if unknown := options.keys() - set(parts):
        raise ConfigError(f"{path}: {', '.join(sorted(unknown))}: not one of {', '.join(parts)}")
    return options
