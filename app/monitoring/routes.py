"""HTTP face of the measures, for Prometheus."""

from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.access import Caller, OperatorOnlyError
from app.monitoring.errors import MetricsOffError
from app.monitoring.service import ServiceMeasures
from app.settings import MetricsAccess
from app.web.deps import SettingsDep
from app.web.measures import HttpMeasures
from app.web.problems import problems

router = APIRouter(tags=["health"])

_EXAMPLE = '# TYPE mixsd_jobs gauge\nmixsd_jobs{status="queued"} 3.0\n'


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}}},
        **problems(404),
    },
)
def get_metrics(request: Request, settings: SettingsDep) -> Response:
    """Show measures of the whole service to Prometheus.

    Takes an admin key of the default project, unless `MIXSD_METRICS` lets others in.
    """
    if settings.metrics is MetricsAccess.OFF:
        raise MetricsOffError
    # Without a caller, the door has let somebody in without a key.
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is not None and not caller.is_operator:
        raise OperatorOnlyError("reading the metrics")
    of_requests = cast(HttpMeasures, request.app.state.http_measures)
    of_service = cast(ServiceMeasures, request.app.state.service_measures)
    return Response(of_requests.render([of_service]), headers={"Content-Type": CONTENT_TYPE_LATEST})
