"""`mixsd`, the one command. Composition root: it puts programs together and holds no rules.

Each command imports what it needs when it runs. So `mixsd --help` is quick, and the library's
own commands load neither web framework nor database.
"""

from pathlib import Path
from typing import Annotated

import typer

from mixsd.cli import analyse, benchmark, compare, exports, library, service, upkeep
from mixsd.cli.adapters import adapters
from mixsd.cli.corpus import corpus
from mixsd.cli.facts import facts as facts_commands
from mixsd.cli.jobs import jobs
from mixsd.cli.keys import keys
from mixsd.cli.models import models
from mixsd.cli.supervision import supervision

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(service.cli)
cli.add_typer(upkeep.cli)
cli.add_typer(library.cli)
cli.add_typer(compare.cli)
cli.add_typer(analyse.cli)
cli.add_typer(benchmark.cli)
cli.add_typer(corpus, name="corpus")
cli.add_typer(facts_commands, name="facts")
cli.add_typer(models, name="models")
cli.add_typer(keys, name="keys")
cli.add_typer(jobs, name="jobs")
adapters.add_typer(exports.commands)
cli.add_typer(adapters, name="adapters")
cli.add_typer(supervision, name="supervision")


@cli.callback()
def about() -> None:
    """Teach language models new facts without making them forget."""


@cli.command("demo")
def run_demo(
    data: Annotated[
        Path, typer.Option(help="Where to keep it all. If it is in use, a new folder beside it is taken.")
    ] = Path("data/demo"),
    port: Annotated[int, typer.Option(help="Port of the service; 0 takes a free one.")] = 0,
    facts: Annotated[Path, typer.Option(help="Facts to teach, JSONL or JSON.")] = Path(
        "examples/facts.jsonl"
    ),
    model: Annotated[str, typer.Option(help="Base model.")] = "smollm2-135m-instruct",
    url: Annotated[str, typer.Option(help="Use the service that runs there and start none.")] = "",
    key: Annotated[
        str, typer.Option(envvar="MIXSD_API_KEY", show_default=False, help="API key for that service.")
    ] = "",
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Serve on after the report, until Ctrl-C.")] = False,
) -> None:
    """Teach a real model some invented facts, and show what it learned and what it lost."""
    from mixsd.cli import demo

    demo.run(data=data, port=port, facts=facts, model=model, url=url, key=key, keep=keep)
