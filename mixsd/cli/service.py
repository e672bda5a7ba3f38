"""`mixsd up`, and the roles that it unites: api, worker, sweeper, db upgrade."""

import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:  # the commands themselves import late
    from app.db.engine import Database
    from app.inference.port import Inference
    from app.queue import Dispatcher
    from app.settings import Settings
    from app.storage import ArtifactStore

cli = typer.Typer()
database_commands = typer.Typer(no_args_is_help=True, help="Look after the database.")
cli.add_typer(database_commands, name="db")

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
    from app.db.engine import Database, make_engine
    from app.queue import NullDispatcher
    from app.settings import Settings
    from worker.inference.keeper import Keeper
    from worker.local import DataFolderInUseError, LocalWorker

    settings = Settings(data_dir=data) if data else Settings()
    log.configure(json=settings.log_json)
    _check_tracing(settings)
    listener = _listen(host, port)
    engine = make_engine(settings.database)
    database = Database(engine)
    store = _store_of(settings)
    worker = LocalWorker(database, settings)
    keeper = Keeper(settings) if settings.inference == "auto" else None
    try:
        worker.acquire()
        _upgrade(database)
        _refuse_strangers(database, settings, host)
        worker.start()
        _serve(database, store, settings, NullDispatcher(), listener, keeper)
    except DataFolderInUseError as error:
        _refuse(str(error))
    finally:
        if keeper is not None:
            keeper.stop()
        worker.stop()
        engine.dispose()
        listener.close()


@cli.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve the API alone, for workers that run elsewhere."""
    from app import log
    from app.db.engine import Database, make_engine
    from app.settings import Settings

    settings = Settings()
    log.configure(json=settings.log_json)
    _check_tracing(settings)
    store = _store_of(settings)
    with _listen(host, port) as listener:
        database = Database(make_engine(settings.database))
        _refuse_strangers(database, settings, host)
        _serve(database, store, settings, _dispatcher(settings), listener)


@cli.command()
def worker() -> None:
    """Run jobs, one at a time, as a Celery worker. Needs MIXSD_REDIS_URL.

    Ends with status 70 if it is deaf, to be started anew.
    """
    from app import log
    from worker.celery_app import celery, exit_status, settings

    if settings.redis_url is None:
        _refuse("set MIXSD_REDIS_URL: a worker of its own is woken up through Redis (`mixsd up` needs none)")
    log.configure(json=settings.log_json)
    _check_tracing(settings)
    _store_of(settings).close()
    celery.worker_main(["--quiet", "worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"])
    raise typer.Exit(exit_status())


@cli.command()
def inference(
    host: Host = "127.0.0.1",
    port: Port = 8001,
) -> None:
    """Answer for adapters, as a process of its own that the API finds by MIXSD_INFERENCE."""
    from app import log
    from app.settings import Settings

    try:
        from worker.inference.serving import serve
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is missing: install what workers need, `pip install '.[ml]'`")
    settings = Settings()
    log.configure(json=settings.log_json)
    _store_of(settings).close()
    with _listen(host, port) as listener:
        typer.echo(f"MixSD answers for adapters on port {listener.getsockname()[1]}", err=True)
        serve(settings, listener, ends_when_idle=False)


@cli.command()
def sweeper() -> None:
    """Take lost jobs back, wake workers up and send webhooks. Run one, or several that stand by."""
    from app import log, tables  # noqa: F401  foreign keys resolve only once every table is known
    from app.db.engine import Database, make_engine
    from app.settings import Settings
    from worker.sweeper import Sweeper
    from worker.webhooks.postman import Postman

    settings = Settings()
    log.configure(json=settings.log_json)
    store = _store_of(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = make_engine(settings.database)
    dispatcher, database = _dispatcher(settings), Database(engine)
    postman = threading.Thread(target=Postman.of(database, settings).run, args=(stop.wait,), name="postman")
    postman.start()  # in a thread of its own: receivers may be slow
    try:
        Sweeper(database, settings, dispatcher, store=store).run(stop.wait)
    finally:
        stop.set()
        postman.join()
    dispatcher.close()
    engine.dispose()


@database_commands.command("upgrade")
def upgrade() -> None:
    """Bring the database to the newest schema. Does nothing if it is there already."""
    from app import log
    from app.db.engine import Database, make_engine
    from app.settings import Settings

    settings = Settings()
    log.configure(json=settings.log_json)
    engine = make_engine(settings.database)
    _upgrade(Database(engine))
    engine.dispose()


def _upgrade(database: "Database") -> None:
    import migrations

    migrations.upgrade(database.engine)


def _dispatcher(settings: "Settings") -> "Dispatcher":
    from app.queue import CeleryDispatcher, NullDispatcher

    return CeleryDispatcher(str(settings.redis_url)) if settings.redis_url else NullDispatcher()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port now, so that one that is in use is noticed before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        _refuse(f"cannot listen on {host} port {port}: {reason}. Choose another one with --port")


def _serve(
    database: "Database",
    store: "ArtifactStore",
    settings: "Settings",
    dispatcher: "Dispatcher",
    listener: socket.socket,
    inference: "Inference | None" = None,
) -> None:
    """Serve the API until SIGINT or SIGTERM.

    uvicorn ends gracefully on either and then raises the signal again. It must not end the
    process there: the worker has yet to hand its job back.
    """
    import uvicorn

    from app.main import build_app
    from app.tracing import provider_for
    from app.web.serving import config_of

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"MixSD listens on http://{shown}:{port}", err=True)
    tracers = provider_for(settings.otlp_endpoint, role="api")
    api = build_app(database, store, dispatcher, settings, tracers=tracers, inference=inference)
    uvicorn.Server(config_of(api, settings)).run(sockets=[listener])


def _check_tracing(settings: "Settings") -> None:
    from app.tracing import TracingExtraMissingError, check_installed

    try:
        check_installed(settings.otlp_endpoint)
    except TracingExtraMissingError as error:
        _refuse(str(error))


def _store_of(settings: "Settings") -> "ArtifactStore":
    """Open the store of adapters, or end here if it can never be used as it is set up.

    One that does not answer now is no reason: `GET /readyz` says so until it does.
    """
    from app.storage import StoreMisconfiguredError, StoreUnavailableError
    from app.stores import store_for

    try:
        store = store_for(settings)
        try:
            store.check()
        except StoreMisconfiguredError:
            raise
        except StoreUnavailableError as error:
            typer.echo(f"mixsd: cannot use the store of adapters yet: {error}", err=True)
    except StoreMisconfiguredError as error:
        _refuse(f"the store of adapters cannot be used: {error}")
    return store


def _refuse_strangers(database: "Database", settings: "Settings", host: str) -> None:
    """End here rather than listen for others while whoever comes may do everything.

    A database that does not answer now is no reason: until it does, nobody is let in.
    """
    from app.db.engine import DatabaseFailure
    from app.projects.keyring import needs_first_key
    from app.settings import AuthMode
    from app.web.access import is_loopback

    if host == "localhost" or is_loopback(host):
        return
    if settings.auth is AuthMode.OFF:
        typer.echo(f"mixsd: MIXSD_AUTH is off: whoever reaches {host} may do everything", err=True)
        return
    try:
        if settings.auth is AuthMode.AUTO and needs_first_key(database):
            _refuse(
                f"there is no API key yet, so the API does not listen on {host}. "
                "Make one: `mixsd keys create --project default --scopes read,write,admin`. "
                "Or set MIXSD_AUTH: `required`, or `off` if what stands in front of it knows its users; "
                "or listen on 127.0.0.1"
            )
    except DatabaseFailure as error:
        typer.echo(f"mixsd: cannot look for API keys yet ({type(error).__name__})", err=True)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"mixsd: {message}", err=True)
    raise typer.Exit(1)
