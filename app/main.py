"""Composition root of the API."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from app import (
    log,
    tables,  # noqa: F401  foreign keys resolve only once every table is known
)
from app.adapters import routes as adapters
from app.base_models import routes as base_models
from app.clock import Clock, utc_now
from app.db.engine import Database, make_engine
from app.examples import EXAMPLES
from app.fact_sets import routes as fact_sets
from app.fact_sets.reading import decode
from app.fact_sets.schemas import FactSetCreate
from app.idempotency.once import InFlight
from app.jobs import routes as jobs
from app.ledger import routes as ledger
from app.projects import routes as projects
from app.projects.keyring import Keyring
from app.queue import CeleryDispatcher, Dispatcher, NullDispatcher
from app.releases import routes as releases
from app.settings import Settings
from app.storage import ArtifactStore, LocalStore
from app.usage import routes as usage
from app.web import docs, health, openapi, problems
from app.web.access import AccessControl
from app.web.body import refuse_nul
from app.web.body_digest import BodyDigest
from app.web.headers import SecurityHeaders
from app.web.rates import RateLimiter
from app.web.request_id import RequestId


def build_app(
    database: Database,
    store: ArtifactStore,
    dispatcher: Dispatcher,
    settings: Settings,
    clock: Clock = utc_now,
) -> FastAPI:
    """Wire the API from its parts, which it closes when it ends. Tests pass their own."""
    redis_url = None if settings.redis_url is None else str(settings.redis_url)
    limiter = RateLimiter(settings.rate_limit, redis_url, lambda: clock().timestamp())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        dispatcher.close()
        limiter.close()
        database.engine.dispose()

    app = FastAPI(
        title="MixSD",
        summary="Teach a language model new facts without making it forget.",
        version=version("mixsd"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
        responses=problems.problems(400, 422, 500, 503),
        dependencies=[Depends(refuse_nul)],
        lifespan=lifespan,
    )
    app.state.database, app.state.store, app.state.dispatcher = database, store, dispatcher
    app.state.settings, app.state.clock, app.state.decode = settings, clock, decode
    app.state.in_flight = InFlight()
    app.state.doorkeeper = Keyring(database, clock, mode=settings.auth, trust=settings.key_cache)
    app.add_middleware(BodyDigest)
    app.add_middleware(AccessControl, doorkeeper=app.state.doorkeeper, limiter=limiter)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    problems.install(app)
    for feature in (fact_sets, base_models, jobs, ledger, adapters, releases, projects, usage, health):
        app.include_router(feature.router)
    docs.install(app)
    openapi.install(app, FactSetCreate, examples=EXAMPLES)
    return app


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the API, from the environment unless told otherwise: `uvicorn --factory app.main:create_app`."""
    settings = settings or Settings()
    log.configure(json=settings.log_json)
    dispatcher: Dispatcher = NullDispatcher()
    if settings.redis_url is not None:
        dispatcher = CeleryDispatcher(str(settings.redis_url))
    database = Database(make_engine(settings.database))
    return build_app(database, LocalStore(settings.artifact_dir), dispatcher, settings)
