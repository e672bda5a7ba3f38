"""HTTP face of webhooks: parse, call one use case, answer. No rules live here."""

from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Query, Request, Response, status

from app.idempotency.once import once
from app.ids import DeliveryId, WebhookId
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep
from app.web.paging import IdCutDep, Page
from app.web.problems import problems
from app.webhooks import service
from app.webhooks.addresses import Resolver, Rules
from app.webhooks.schemas import (
    DeliveryDetail,
    DeliveryRead,
    SecretRotation,
    WebhookCreate,
    WebhookCreated,
    WebhookRead,
    WebhookUpdate,
)
from app.webhooks.service import CheckUrl
from app.webhooks.states import DeliveryStatus

router = APIRouter(tags=["webhooks"], route_class=StrictRoute)

_BODY: Final = (400, 413, 415)
_USUAL_ROTATION: Final = SecretRotation()


async def _check_url(request: Request) -> CheckUrl:
    rules = cast(Rules, request.app.state.webhook_rules)
    resolve = cast(Resolver, request.app.state.resolve)

    def check(url: str) -> None:
        target = rules.target(url)
        with suppress(OSError):  # nobody knows now; each connection asks again
            rules.addresses(target, resolve)

    return check


CheckUrlDep = Annotated[CheckUrl, Depends(_check_url)]


@router.post("/webhooks", status_code=status.HTTP_201_CREATED, responses=problems(*_BODY, 409))
@once
def create_webhook(
    body: WebhookCreate,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    check_url: CheckUrlDep,
) -> WebhookCreated:
    """Ask to be told of events. The secret that checks signatures is in this answer and in no other."""
    made = service.create_webhook(database, project_id=project_id, request=body, check_url=check_url)
    response.headers["Location"] = request.app.url_path_for("get_webhook", webhook_id=made.id)
    return made


@router.get("/webhooks", responses=problems(400))
def list_webhooks(project_id: ProjectDep, database: DatabaseDep, cut: IdCutDep) -> Page[WebhookRead]:
    """List webhooks, newest first."""
    return Page[WebhookRead].of(service.list_webhooks(database, cut, project_id=project_id), cut)


@router.get("/webhooks/{webhook_id}", responses=problems(404))
def get_webhook(webhook_id: WebhookId, project_id: ProjectDep, database: DatabaseDep) -> WebhookRead:
    """Read a webhook: whether it is enabled, and if not, why."""
    return service.get_webhook(database, project_id=project_id, webhook_id=webhook_id)


@router.patch("/webhooks/{webhook_id}", responses=problems(*_BODY, 404))
def update_webhook(
    webhook_id: WebhookId,
    body: WebhookUpdate,
    project_id: ProjectDep,
    database: DatabaseDep,
    check_url: CheckUrlDep,
) -> WebhookRead:
    """Change a webhook. What waits for one that is disabled has failed; `redeliver` sends it later."""
    return service.update_webhook(
        database, project_id=project_id, webhook_id=webhook_id, request=body, check_url=check_url
    )


@router.delete("/webhooks/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
def delete_webhook(webhook_id: WebhookId, project_id: ProjectDep, database: DatabaseDep) -> None:
    """Delete a webhook, with its deliveries."""
    service.delete_webhook(database, project_id=project_id, webhook_id=webhook_id)


@router.post("/webhooks/{webhook_id}/rotate-secret", responses=problems(*_BODY, 404, 409))
@once
def rotate_webhook_secret(
    webhook_id: WebhookId,
    project_id: ProjectDep,
    database: DatabaseDep,
    body: SecretRotation = _USUAL_ROTATION,
) -> WebhookCreated:
    """Replace the secret. For a while messages have two signatures: with the old one and the new."""
    overlap = timedelta(seconds=body.overlap_seconds)
    return service.rotate_secret(database, project_id=project_id, webhook_id=webhook_id, overlap=overlap)


@router.post(
    "/webhooks/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 409)
)
@once
def test_webhook(webhook_id: WebhookId, project_id: ProjectDep, database: DatabaseDep) -> DeliveryRead:
    """Send a `webhook.test`, once. `GET /deliveries/{id}` says how it went."""
    return service.test_webhook(database, project_id=project_id, webhook_id=webhook_id)


@router.get("/webhooks/{webhook_id}/deliveries", responses=problems(400, 404))
def list_webhook_deliveries(
    webhook_id: WebhookId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: IdCutDep,
    delivery_status: Annotated[DeliveryStatus | None, Query(alias="status")] = None,
) -> Page[DeliveryRead]:
    """List what was sent to a webhook, or is to be, newest first."""
    rows = service.list_deliveries(
        database, cut, project_id=project_id, webhook_id=webhook_id, status=delivery_status
    )
    return Page[DeliveryRead].of(rows, cut)


@router.get("/deliveries/{delivery_id}", responses=problems(404))
def get_delivery(delivery_id: DeliveryId, project_id: ProjectDep, database: DatabaseDep) -> DeliveryDetail:
    """Read a delivery: what is sent, and how each try went."""
    return service.get_delivery(database, project_id=project_id, delivery_id=delivery_id)


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(404, 409),
)
@once
def redeliver(delivery_id: DeliveryId, project_id: ProjectDep, database: DatabaseDep) -> DeliveryRead:
    """Send a message again, now and under the same `webhook-id`, whether it was taken or not."""
    return service.redeliver(database, project_id=project_id, delivery_id=delivery_id)
