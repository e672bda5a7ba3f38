"""`mixsd fsck`, `backup` and `restore`: on the database and the folders of a service themselves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:  # the commands themselves import late
    from app.db.engine import Database
    from app.settings import Settings
    from app.storage import ArtifactStore
    from worker.fsck.report import Check, Report

cli = typer.Typer()

Data = Annotated[
    Path | None, typer.Option(help="Where everything is kept. Default: MIXSD_DATA_DIR, or ./data.")
]

_SHOWN: Final = 20
"""Problems of a check that are printed; `--json` has all."""


@cli.command()
def fsck(
    data: Data = None,
    *,
    hash_files: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Read every file and text, and compare the digests.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check that database and files are whole and agree. Changes nothing; the service may run on.

    Ends with status 0 if they do, 1 if not, and 2 if the database or the store is out of reach.
    """
    from worker.fsck.checking import check_service

    with _opened(data) as (settings, database), _store_of(settings) as store:
        report = check_service(
            database.engine,
            store=store,
            work=settings.work_dir,
            keep=settings.keep_work,
            hashing=hash_files,
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        _show(report)
    raise typer.Exit(0 if report.ok else 1)


@cli.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for it.")],
    data: Data = None,
) -> None:
    """Copy database, adapters and checkpoints of jobs that go on. The service may run on.

    Ends with status 1 if files of adapters were not to be had; the rest is saved all the same.
    """
    from mixsd.cli._errors import explained
    from worker.backup.saving import save

    with _opened(data) as (settings, database), _store_of(settings) as store, explained():
        saved = save(
            database.engine,
            target,
            store=store,
            work=settings.work_dir,
            keep=settings.keep_work,
        )
    typer.echo(f"{saved.folder}: {saved.rows:,} rows, {saved.files:,} files, {saved.bytes:,} bytes")
    for lost in saved.missing[:_SHOWN]:
        typer.echo(f"mixsd: not in the backup, since it is missing or damaged: {lost}", err=True)
    if saved.missing:
        typer.echo(f"mixsd: {len(saved.missing)} files are missing: `mixsd fsck` says what to do", err=True)
        raise typer.Exit(1)


@cli.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mixsd backup` made.")],
    data: Data = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Throw away what the database holds.")] = False,
) -> None:
    """Put a backup into an empty database, the data folder and the store. Stop the service first.

    It may be another kind of database than the backup came from. Jobs that ran wait in the queue then.
    """
    from app.errors import AppError
    from app.storage import StoreUnavailableError
    from mixsd.cli._errors import explained
    from worker.backup.restoring import restore as put_back
    from worker.local import DataFolderInUseError, LocalWorker

    with _opened(data, new=True) as (settings, database), _store_of(settings) as store, explained():
        worker = LocalWorker(database, settings)
        try:
            worker.acquire()
            manifest = put_back(database, source, store=store, work=settings.work_dir, force=force)
        except DataFolderInUseError as error:
            _refuse(str(error))
        except StoreUnavailableError:
            raise  # explained with the others of that kind
        except AppError as error:
            typer.echo(f"mixsd: {error} [{error.code}]", err=True)
            raise typer.Exit(1) from error
        finally:
            worker.stop()
    rows = sum(manifest.rows.values())
    typer.echo(f"restored {rows:,} rows and {manifest.files:,} files of {manifest.created_at}")


def _show(report: "Report") -> None:
    for check in report.checks:
        typer.echo(f"{'ok' if not check.problems else 'WRONG':6} {check.name:12} {check.checked:>10,}")
        _show_problems(check)
    n = sum(len(check.problems) for check in report.checks)
    typer.echo("everything is whole and agrees" if report.ok else f"{n} problem{'s' if n > 1 else ''}")


def _show_problems(check: "Check") -> None:
    for problem in check.problems[:_SHOWN]:
        typer.echo(f"       {problem.object}: {problem.what}\n         do: {problem.do}")
    if (more := len(check.problems) - _SHOWN) > 0:
        typer.echo(f"       and {more:,} more: --json lists them all")


@contextmanager
def _opened(data: Path | None, *, new: bool = False) -> "Iterator[tuple[Settings, Database]]":
    """Open the database of the settings, or end with status 2. It must be there unless it may be new."""
    from app.db.engine import Database, DatabaseFailure, make_engine
    from app.settings import Settings

    settings = Settings(data_dir=data) if data else Settings()
    database = Database(make_engine(settings.database))
    file = database.engine.url.database
    if database.is_sqlite and not new and not Path(file or "").is_file():
        _refuse(
            f"there is no database at {file}: name the folder of the service with --data, "
            "or set MIXSD_DATABASE_URL"
        )
    try:
        yield settings, database
    except DatabaseFailure as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        _refuse(f"the database does not answer: see that it runs, and MIXSD_DATABASE_URL ({said})")
    finally:
        database.engine.dispose()


@contextmanager
def _store_of(settings: "Settings") -> "Iterator[ArtifactStore]":
    """Open the store of adapters, or end with status 2."""
    from app.storage import StoreUnavailableError
    from app.stores import store_for

    try:
        store = store_for(settings)
        try:
            store.check()
            yield store
        finally:
            store.close()
    except StoreUnavailableError as error:
        _refuse(f"the store of adapters cannot be used: {error}")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"mixsd: {message}", err=True)
    raise typer.Exit(2)
