"""`mixsd models`: base models in the cache. Data goes to stdout, progress to stderr."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixsd.cli._errors import explained
from mixsd.progress import Progress

models = typer.Typer(no_args_is_help=True, help="Get base models and look after them.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A built-in id, or `owner/name` of a hub.")]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch.")]
Cache = Annotated[Path | None, typer.Option(envvar="MIXSD_MODEL_CACHE", help="Where base models lie.")]


@models.command()
def pull(model_id: Id, revision: Revision = None, cache: Cache = None) -> None:
    """Get a model into the cache and print where it is."""
    with explained():
        from mixsd.models.registry import default_cache
        from mixsd.models.store import pull as pull_model

        found = pull_model(model_id, revision=revision, cache=cache or default_cache(), on_progress=_show)
        typer.echo(str(found.folder))


@models.command("list")
def list_models(cache: Cache = None) -> None:
    """Print one line of JSON for each model: built-in ones, and all that are on disk."""
    from mixsd.models.registry import BUILT_IN, default_cache, on_disk

    found = list(on_disk(cache or default_cache()))
    rows = [
        {
            "id": model.id,
            "revision": model.revision,
            "on_disk": True,
            "parameters": model.card.get("parameters"),
        }
        for model in found
    ]
    rows += [
        {"id": model.id, "revision": model.revision, "on_disk": False, "parameters": model.parameters}
        for model in BUILT_IN.values()
        if model.id not in {row["id"] for row in rows}
    ]
    for row in rows:
        typer.echo(json.dumps(row))


@models.command()
def path(model_id: Id, revision: Revision = None, cache: Cache = None) -> None:
    """Print where a model lies."""
    with explained():
        from mixsd.errors import ModelNotFoundError
        from mixsd.models.registry import default_cache, find

        found = find(cache or default_cache(), model_id, revision)
        if found is None:
            raise ModelNotFoundError(f"{model_id} is not on disk: `mixsd models pull {model_id}`")
        typer.echo(str(found.folder))


@models.command()
def add(
    model_id: Id,
    folder: Annotated[Path, typer.Argument(help="Config, tokenizer and weights in safetensors.")],
    revision: Annotated[str, typer.Option(help="Name of this version.")] = "local",
    cache: Cache = None,
) -> None:
    """Register a folder as a model, under an id of the form `owner/name`."""
    with explained():
        from mixsd.models.registry import default_cache
        from mixsd.models.store import add_local

        found = add_local(model_id, folder, cache=cache or default_cache(), revision=revision)
        typer.echo(str(found.folder))


def _show(progress: Progress, /) -> None:
    typer.echo(f"{progress.done} of {progress.total} {progress.unit}", err=True)
