"""`mixsd up`, and the roles that it unites: api, worker, sweeper, db upgrade."""

import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings

cli = typer.Typer()
database = typer.Typer(no_args_is_help=True, help="Look after the database.")
cli.add_typer(database, name="db")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")]


@cli.command()
def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Annotated[
        Path | None, typer.Option(help="Where everything is kept. Default: MIXSD_DATA_DIR, or ./data.")
    ] = None,
) -> None:
    """Serve the API and run jobs on this machine, until Ctrl-C."""
    from app import log
    from app.settings import Settings
    from worker.local import DataFolderInUseError, LocalWorker

    settings = Settings(data_dir=data) if data else Settings()
    log.configure(json=settings.log_json)
    listener = _listen(host, port)
    worker = LocalWorker(settings)
    try:
        worker.acquire()
        _upgrade(settings)
        worker.start()
        _serve(settings, listener)
    except DataFolderInUseError as error:
        _refuse(str(error))
    finally:
        worker.stop()
        listener.close()


@cli.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve the API alone, for workers that run elsewhere."""
    from app import log
    from app.settings import Settings

    settings = Settings()
    log.configure(json=settings.log_json)
    with _listen(host, port) as listener:
        _serve(settings, listener)


@cli.command()
def worker() -> None:
    """Run jobs, one at a time, as a Celery worker. Needs MIXSD_REDIS_URL."""
    from app import log
    from worker.celery_app import celery, settings

    if settings.redis_url is None:
        _refuse("set MIXSD_REDIS_URL: a worker of its own is woken up through Redis (`mixsd up` needs none)")
    log.configure(json=settings.log_json)
    celery.worker_main(["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"])


@cli.command()
def sweeper() -> None:
    """Take lost jobs back and wake workers up. Run one, or several that stand by."""
    from app import log, tables  # noqa: F401  foreign keys resolve only once every table is known
    from app.db.engine import Database, make_engine
    from app.queue import CeleryDispatcher, Dispatcher, NullDispatcher
    from app.settings import Settings
    from worker.sweeper import Sweeper

    settings = Settings()
    log.configure(json=settings.log_json)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    dispatcher: Dispatcher = (
        CeleryDispatcher(str(settings.redis_url)) if settings.redis_url else NullDispatcher()
    )
    Sweeper(Database(make_engine(settings.database)), settings, dispatcher).run(stop.wait)
    dispatcher.close()


@database.command("upgrade")
def upgrade() -> None:
    """Bring the database to the newest schema. Does nothing if it is there already."""
    from app.settings import Settings

    _upgrade(Settings())


def _upgrade(settings: "Settings") -> None:
    import migrations
    from app.db.engine import make_engine

    engine = make_engine(settings.database)
    migrations.upgrade(engine)
    engine.dispose()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port now, so that one that is in use is noticed before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        _refuse(f"cannot listen on {host} port {port}: {reason}. Choose another one with --port")


def _serve(settings: "Settings", listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM.

    uvicorn ends gracefully on either and then raises the signal again. It must not end the
    process there: the worker has yet to hand its job back.
    """
    import uvicorn

    from app.main import create_app

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"MixSD listens on http://{shown}:{port}", err=True)
    config = uvicorn.Config(create_app(settings), log_config=None, timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])


def _refuse(message: str) -> NoReturn:
    typer.echo(f"mixsd: {message}", err=True)
    raise typer.Exit(1)
