"""Composition root of the API."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Final

import structlog
from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import TracerProvider

from app import (
    log,
    tables,  # noqa: F401  foreign keys resolve only once every table is known
    tracing,
)
from app.adapters import routes as adapters
from app.adapters.schemas import AdapterManifest
from app.audit import routes as audit
from app.audit.trail import AuditTrail
from app.base_models import routes as base_models
from app.clock import Clock, utc_now
from app.db.engine import Database, make_engine
from app.db.secrets import secret_of
from app.delivery import routes as exports
from app.estimates import routes as estimates
from app.examples import EXAMPLES
from app.fact_sets import routes as fact_sets
from app.fact_sets.reading import decode
from app.fact_sets.schemas import FactSetCreate
from app.fleet import routes as fleet
from app.idempotency.once import InFlight
from app.imports import routes as imports
from app.inference import routes as generation
from app.inference.port import Inference, inference_for
from app.jobs import routes as jobs
from app.jobs.forecasts import Forecaster
from app.ledger import evaluation_routes as evaluations
from app.ledger import routes as ledger
from app.lineage import routes as lineage
from app.live import routes as live
from app.live.schemas import ProgressEvent
from app.live.watching import Live, Times
from app.monitoring import routes as monitoring
from app.monitoring.service import ServiceMeasures
from app.openai import chat_routes as openai_chat
from app.openai import file_routes as openai_files
from app.openai import job_routes as openai_jobs
from app.openai import model_routes as openai_models
from app.openai.chat_schemas import ChatCompletionChunk
from app.openai.examples import OPENAI_EXAMPLES
from app.projects import routes as projects
from app.projects.keyring import Keyring
from app.queue import CeleryDispatcher, Dispatcher, NullDispatcher
from app.releases import routes as releases
from app.reports import routes as reports
from app.settings import AuthMode, MetricsAccess, Settings
from app.storage import ArtifactStore
from app.stores import store_for
from app.usage import routes as usage
from app.web import docs, health, openapi, problems
from app.web.access import AccessControl
from app.web.body import check_address
from app.web.body_digest import BodyDigest
from app.web.ending import told_of_the_end
from app.web.headers import SecurityHeaders
from app.web.limits import LOCAL_NAMES, Limits
from app.web.measures import FOLDER, HttpMeasures
from app.web.openai_errors import OpenAIErrorBody
from app.web.rates import RateLimiter
from app.web.request_id import RequestId
from app.web.request_log import RequestLog
from app.webhooks import routes as webhooks
from app.webhooks.addresses import Resolver, Rules, system_resolver
from mixsd.models.calls import Hub

logger = structlog.get_logger(__name__)

_FEATURES: Final = (
    fact_sets,
    base_models,
    estimates,
    jobs,
    live,
    ledger,
    reports,
    evaluations,
    adapters,
    imports,
    lineage,
    generation,
    releases,
    exports,
    projects,
    audit,
    usage,
    webhooks,
    openai_files,
    openai_jobs,
    openai_models,
    openai_chat,
    fleet,
    health,
    monitoring,
)


def build_app(
    database: Database,
    store: ArtifactStore,
    dispatcher: Dispatcher,
    settings: Settings,
    clock: Clock = utc_now,
    resolve: Resolver = system_resolver,
    tracers: TracerProvider = tracing.OFF,
    inference: Inference | None = None,
) -> FastAPI:
    """Wire the API from its parts, which it closes when it ends. Tests pass their own.

    `tracers` record requests, unless they are `tracing.OFF`. Without an `inference` adapters are
    asked where the settings say.
    """
    redis_url = None if settings.redis_url is None else str(settings.redis_url)
    limiter = RateLimiter(settings.rate_limit, redis_url, lambda: clock().timestamp())
    streams = Live(database, Times(poll=settings.stream_poll.total_seconds()))
    measures = HttpMeasures()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        with told_of_the_end(streams.close):
            yield
        streams.close()
        dispatcher.close()
        limiter.close()
        measures.close()
        tracing.close(tracers)
        store.close()
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
        dependencies=[Depends(check_address)],
        lifespan=lifespan,
        telemetry=_telemetry(tracers),
    )
    app.state.database, app.state.store, app.state.dispatcher = database, store, dispatcher
    app.state.settings, app.state.clock, app.state.decode = settings, clock, decode
    app.state.in_flight, app.state.live = InFlight(), streams
    app.state.webhook_rules = Rules(settings.webhook_allow, http=settings.webhook_http)
    app.state.forecaster = Forecaster(settings.model_cache, settings.device)
    app.state.cursor_secret = cache(partial(secret_of, database, "cursors"))
    app.state.resolve, app.state.hub = resolve, Hub()
    app.state.inference = inference or inference_for(
        settings.inference, settings.inference_token, settings.data_dir
    )
    app.state.doorkeeper = Keyring(database, clock, mode=settings.auth, trust=settings.key_cache)
    app.state.http_measures = measures
    app.state.service_measures = ServiceMeasures(database, lease=settings.lease)
    app.add_middleware(BodyDigest)
    app.add_middleware(
        AccessControl,
        doorkeeper=app.state.doorkeeper,
        limiter=limiter,
        metrics=settings.metrics,
        hosts_without_key=_hosts_without_key(settings),
    )
    app.add_middleware(AuditTrail, database=database, clock=clock)
    app.add_middleware(Limits, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestLog, measures=measures)
    app.add_middleware(RequestId)
    problems.install(app)
    for feature in _FEATURES:
        app.include_router(feature.router)
    docs.install(app)
    named = (FactSetCreate, AdapterManifest, ProgressEvent, OpenAIErrorBody, ChatCompletionChunk)
    openapi.install(app, *named, examples=EXAMPLES | OPENAI_EXAMPLES)
    return app


def _hosts_without_key(settings: Settings) -> Sequence[str]:
    """Return the names for which whoever comes is answered; none if that is the operator's business."""
    return settings.allowed_hosts or (LOCAL_NAMES if settings.auth is AuthMode.AUTO else ())


def _telemetry(tracers: TracerProvider) -> TelemetryConfig:
    """Have FastAPI trace requests, and nothing else, and only if it was asked for."""
    return {
        "tracing": tracing.is_on(tracers),
        "tracer_provider": tracers,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the API, from the environment unless told otherwise: `uvicorn --factory app.main:create_app`."""
    settings = settings or Settings()
    log.configure(json=settings.log_json)
    dispatcher: Dispatcher = NullDispatcher()
    if settings.redis_url is not None:
        dispatcher = CeleryDispatcher(str(settings.redis_url))
    database = Database(make_engine(settings.database))
    tracers = tracing.provider_for(settings.otlp_endpoint, role="api")
    app = build_app(database, store_for(settings), dispatcher, settings, tracers=tracers)
    if app.state.http_measures.is_partial and settings.metrics is not MetricsAccess.OFF:
        said = f"measures of requests are left out: start all processes with {FOLDER}, an empty folder"
        logger.warning("metrics.of_requests_left_out", why=said)
    return app
