"""`mixsd keys`: API keys, on the database itself. So there can be a first one, and always another."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # the commands themselves import late
    from app.access import Scope
    from app.db.engine import Database

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

Data = Annotated[
    Path | None, typer.Option(help="Where everything is kept. Default: MIXSD_DATA_DIR, or ./data.")
]


@keys.command()
def create(
    project: Annotated[str, typer.Option(help="Project that the key is for; made if it is new.")] = "default",
    scopes: Annotated[str, typer.Option(help="What it allows: `read`, `write`, `admin`.")] = "read,write",
    name: Annotated[str, typer.Option(help="What to call it.")] = "command line",
    days: Annotated[float | None, typer.Option(min=0.001, max=36500, help="Days until it expires.")] = None,
    data: Data = None,
) -> None:
    """Make a key and print its secret, which is shown this once. All else goes to stderr.

    A key with `admin` of the project `default` looks after all projects; see docs/access.md.
    """
    with _database(data) as database:
        from app.clock import utc_now
        from app.projects.service import create_key_for

        made = create_key_for(
            database,
            utc_now,
            project_name=_short(project, "--project"),
            name=_short(name, "--name"),
            scopes=_scopes(scopes),
            expires_at=None if days is None else utc_now() + timedelta(days=days),
        )
    typer.echo(f"{made.id} begins with {made.prefix}, for {project}: {', '.join(made.scopes)}", err=True)
    typer.echo(made.secret)


@keys.command("list")
def list_keys(data: Data = None) -> None:
    """Print one line of JSON for each key, without secrets."""
    with _database(data) as database:
        from app.projects.service import all_keys

        found = all_keys(database)
    for key, project in found:
        typer.echo(json.dumps({"project": project, **key.model_dump(mode="json")}, ensure_ascii=False))


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or how its secret begins.")],
    data: Data = None,
) -> None:
    """Make a key worthless. A running API learns of it within MIXSD_KEY_CACHE seconds."""
    with _database(data) as database:
        from app.clock import utc_now
        from app.ids import ApiKeyId
        from app.projects.service import all_keys, revoke_key

        found = [row.id for row, _ in all_keys(database) if key in {row.id, row.prefix}]
        revoke_key(database, utc_now, caller=None, key_id=found[0] if found else ApiKeyId(key))


@contextmanager
def _database(data: Path | None) -> "Iterator[Database]":
    """Open the database of the settings. What goes wrong ends the command with one line."""
    from app import tables  # noqa: F401  foreign keys resolve only once every table is known
    from app.db.engine import Database, DatabaseFailure, make_engine
    from app.errors import AppError
    from app.settings import Settings

    engine = make_engine((Settings(data_dir=data) if data else Settings()).database)
    try:
        yield Database(engine)
    except AppError as error:
        typer.echo(f"mixsd: {error} [{error.code}]", err=True)
        raise typer.Exit(1) from error
    except DatabaseFailure as error:
        typer.echo(
            "mixsd: the database does not answer, or has an old schema: see that it runs, "
            f"then `mixsd db upgrade` ({type(error).__name__})",
            err=True,
        )
        raise typer.Exit(1) from error
    finally:
        engine.dispose()


def _scopes(text: str) -> "list[Scope]":
    from app.access import Scope

    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = sorted(set(words) - set(Scope))
    if unknown or not words:
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'}: give some of {', '.join(Scope)}, with commas between them",
            param_hint="--scopes",
        )
    return [Scope(word) for word in words]


def _short(text: str, option: str) -> str:
    if not 1 <= len(text) <= 100 or not text.isprintable():
        raise typer.BadParameter("1 to 100 printable characters", param_hint=option)
    return text
