"""Use cases on webhooks. One function is one use case and one transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import structlog
from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.lists import Cut
from app.idempotency import repository as answers
from app.ids import DeliveryId, ProjectId, WebhookId, new_id
from app.webhooks import repository
from app.webhooks.errors import WebhookDisabledError, WebhookLimitError
from app.webhooks.models import Webhook
from app.webhooks.schemas import (
    DeliveryDetail,
    DeliveryRead,
    WebhookCreate,
    WebhookCreated,
    WebhookRead,
    WebhookUpdate,
)
from app.webhooks.secrets import new_secret
from app.webhooks.states import DeliveryStatus, DisabledReason

log = structlog.get_logger(__name__)

MOST_WEBHOOKS: Final = 50
"""Of a project. Each event is compared with the filters of all of them."""

CheckUrl: TypeAlias = Callable[[str], None]
"""Raises `WebhookUrlError` of a URL that may not be sent to. It may take seconds, to ask for a name."""


def create_webhook(
    database: Database, *, project_id: ProjectId, request: WebhookCreate, check_url: CheckUrl
) -> WebhookCreated:
    """Make an endpoint. Returns its secret.

    Raises:
        WebhookUrlError: Its URL is none that may be sent to.
        WebhookLimitError: The project has as many as it may.
    """
    check_url(request.url)  # before the transaction, since names are looked up
    with database.begin() as session:
        now = database.now(session)
        if repository.count_webhooks(session, project_id) >= MOST_WEBHOOKS:
            raise WebhookLimitError(MOST_WEBHOOKS)
        webhook = Webhook(
            id=WebhookId(new_id("whk", now=now)),
            project_id=project_id,
            url=request.url,
            events=_stored(request.events),
            description=request.description,
            secret=new_secret(),
            disabled_reason=None if request.enabled else DisabledReason.REQUEST,
            disabled_at=None if request.enabled else now,
            created_at=now,
        )
        session.add(webhook)
        session.flush()
        made = WebhookCreated.model_validate(webhook)
    log.info("webhook.created", webhook_id=made.id, events=made.events)
    return made


def list_webhooks(database: Database, cut: Cut[str], *, project_id: ProjectId) -> Sequence[WebhookRead]:
    with database.read() as session:
        rows = repository.list_webhooks(session, cut, project_id=project_id)
        return [WebhookRead.model_validate(row) for row in rows]


def get_webhook(database: Database, *, project_id: ProjectId, webhook_id: WebhookId) -> WebhookRead:
    with database.read() as session:
        return WebhookRead.model_validate(repository.get_webhook(session, webhook_id, project_id=project_id))


def update_webhook(
    database: Database,
    *,
    project_id: ProjectId,
    webhook_id: WebhookId,
    request: WebhookUpdate,
    check_url: CheckUrl,
) -> WebhookRead:
    """Change an endpoint. One that is enabled again begins with a clean slate.

    Raises:
        WebhookNotFoundError: The project has no such webhook.
        WebhookUrlError: Its new URL is none that may be sent to.
    """
    get_webhook(database, project_id=project_id, webhook_id=webhook_id)
    if request.url is not None:
        check_url(request.url)
    with database.begin() as session:
        now = database.now(session)
        webhook = repository.get_webhook(session, webhook_id, project_id=project_id, lock=True)
        webhook.url = request.url or webhook.url
        if request.events is not None:
            webhook.events = _stored(request.events)
        if "description" in request.model_fields_set:
            webhook.description = request.description
        _switch(session, webhook, on=request.enabled, now=now)
        session.flush()
        shown = WebhookRead.model_validate(webhook)
    log.info("webhook.changed", webhook_id=webhook_id, fields=sorted(request.model_fields_set))
    return shown


def delete_webhook(database: Database, *, project_id: ProjectId, webhook_id: WebhookId) -> None:
    """Delete an endpoint, and what was noted about messages to it."""
    with database.begin() as session:
        webhook = repository.get_webhook(session, webhook_id, project_id=project_id, lock=True)
        session.delete(webhook)
        answers.forget_location(session, project_id, f"/webhooks/{webhook_id}")
    log.info("webhook.deleted", webhook_id=webhook_id)


def rotate_secret(
    database: Database, *, project_id: ProjectId, webhook_id: WebhookId, overlap: timedelta
) -> WebhookCreated:
    """Give an endpoint a new secret. For a while messages are signed with the old one as well."""
    with database.begin() as session:
        now = database.now(session)
        webhook = repository.get_webhook(session, webhook_id, project_id=project_id, lock=True)
        webhook.old_secret = webhook.secret if overlap else None
        webhook.old_secret_until = now + overlap if overlap else None
        webhook.secret = new_secret()
        session.flush()
        shown = WebhookCreated.model_validate(webhook)
    log.info("webhook.secret_rotated", webhook_id=webhook_id)
    return shown


def test_webhook(database: Database, *, project_id: ProjectId, webhook_id: WebhookId) -> DeliveryRead:
    """Send a message that is about nothing, once.

    Raises:
        WebhookNotFoundError: The project has no such webhook.
        WebhookDisabledError: Nothing is sent to it.
    """
    with database.begin() as session:
        webhook = repository.get_webhook(session, webhook_id, project_id=project_id, lock=True)
        _require_enabled(webhook)
        delivery = repository.add_test(session, webhook, now=database.now(session))
        return DeliveryRead.of(delivery)


def list_deliveries(
    database: Database,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    webhook_id: WebhookId,
    status: DeliveryStatus | None,
) -> Sequence[DeliveryRead]:
    with database.read() as session:
        webhook = repository.get_webhook(session, webhook_id, project_id=project_id)
        rows = repository.list_deliveries(session, cut, webhook.id, status=status)
        return [DeliveryRead.of(row) for row in rows]


def get_delivery(database: Database, *, project_id: ProjectId, delivery_id: DeliveryId) -> DeliveryDetail:
    with database.read() as session:
        delivery = repository.get_delivery(session, delivery_id, project_id=project_id)
        return DeliveryDetail.with_log(delivery, repository.tries_of(session, delivery.id))


def redeliver(database: Database, *, project_id: ProjectId, delivery_id: DeliveryId) -> DeliveryRead:
    """Send a message again, whatever came of it, under the same id.

    Raises:
        DeliveryNotFoundError: There is no such message to a webhook of the project.
        WebhookDisabledError: Nothing is sent to its webhook.
    """
    with database.begin() as session:
        webhook_id = repository.get_delivery(session, delivery_id, project_id=project_id).webhook_id
        _require_enabled(repository.get_webhook(session, webhook_id, project_id=project_id, lock=True))
        repository.send_again(session, delivery_id, now=database.now(session))
        return DeliveryRead.of(repository.get_delivery(session, delivery_id, project_id=project_id))


def _switch(session: Session, webhook: Webhook, *, on: bool | None, now: datetime) -> None:
    if on and not webhook.enabled:
        webhook.disabled_reason = webhook.disabled_at = webhook.failing_since = None
    elif on is False and webhook.enabled:
        repository.disable(session, webhook, DisabledReason.REQUEST, now=now)


def _require_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise WebhookDisabledError(webhook.id)


def _stored(patterns: Sequence[str]) -> list[str]:
    return sorted(set(patterns))
