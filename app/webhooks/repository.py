"""Rows of `webhooks`, `deliveries` and `delivery_tries`: what users do. Senders: `app.webhooks.sending`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.ids import DeliveryId, ProjectId, WebhookId, new_id
from app.projects.models import Project
from app.webhooks.errors import DeliveryNotFoundError, WebhookNotFoundError
from app.webhooks.messages import MessageData, WebhookMessage
from app.webhooks.models import Delivery, DeliveryTry, Webhook
from app.webhooks.states import DISABLED, TEST, DeliveryStatus, DisabledReason, is_wanted

LONGEST_LOG: Final = 50

WAS_DISABLED: Final = "the webhook was disabled"


def get_webhook(session: Session, webhook_id: str, *, project_id: ProjectId, lock: bool = False) -> Webhook:
    """Return one of the project's webhooks.

    Raises:
        WebhookNotFoundError: The project has none of that id.
    """
    statement = select(Webhook).where(Webhook.id == webhook_id, Webhook.project_id == project_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    webhook = session.scalars(statement).one_or_none()
    if webhook is None:
        raise WebhookNotFoundError(webhook_id)
    return webhook


def list_webhooks(session: Session, cut: Cut[str], *, project_id: ProjectId) -> Sequence[Webhook]:
    return session.scalars(
        cut_by(select(Webhook).where(Webhook.project_id == project_id), Webhook.id, cut)
    ).all()


def count_webhooks(session: Session, project_id: ProjectId) -> int:
    """Return how many the project has, and let no one add one until the commit."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
    statement = select(func.count()).select_from(Webhook).where(Webhook.project_id == project_id)
    return int(session.scalars(statement).one())


def enabled_in_live_projects() -> ColumnElement[bool]:
    """Return which webhooks are sent to, as SQL."""
    live = select(Project.id).where(Project.deleted_at.is_(None))
    return Webhook.disabled_reason.is_(None) & Webhook.project_id.in_(live)


def get_delivery(session: Session, delivery_id: str, *, project_id: ProjectId) -> Delivery:
    """Return a message to one of the project's webhooks.

    Raises:
        DeliveryNotFoundError: There is none of that id.
    """
    statement = (
        select(Delivery)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.id == delivery_id, Webhook.project_id == project_id)
        .execution_options(populate_existing=True)
    )
    delivery = session.scalars(statement).one_or_none()
    if delivery is None:
        raise DeliveryNotFoundError(delivery_id)
    return delivery


def list_deliveries(
    session: Session, cut: Cut[str], webhook_id: WebhookId, *, status: DeliveryStatus | None
) -> Sequence[Delivery]:
    statement = select(Delivery).where(Delivery.webhook_id == webhook_id)
    if status is not None:
        statement = statement.where(Delivery.status == status)
    return session.scalars(cut_by(statement, Delivery.id, cut)).all()


def tries_of(session: Session, delivery_id: DeliveryId) -> Sequence[DeliveryTry]:
    """Return the last tries, newest first."""
    statement = select(DeliveryTry).where(DeliveryTry.delivery_id == delivery_id)
    return session.scalars(statement.order_by(DeliveryTry.number.desc()).limit(LONGEST_LOG)).all()


def a_delivery(webhook_id: WebhookId, message: WebhookMessage, *, now: datetime) -> Delivery:
    """Make a message that is to be sent at once. It is not stored yet."""
    return Delivery(
        id=DeliveryId(new_id("dlv", now=now)),
        webhook_id=webhook_id,
        event_id=message.data.event_id,
        job_id=message.data.job_id,
        type=message.type,
        body=message.text(),
        status=DeliveryStatus.PENDING,
        next_try_at=now,
        created_at=now,
    )


def add_test(session: Session, webhook: Webhook, *, now: datetime) -> Delivery:
    message = WebhookMessage(type=TEST, created_at=now, data=MessageData(id=webhook.id))
    delivery = a_delivery(webhook.id, message, now=now)
    session.add(delivery)
    session.flush()
    return delivery


def send_again(session: Session, delivery_id: DeliveryId, *, now: datetime) -> None:
    """Make a message due now, and forget about the pauses so far. One that is being sent stays as it is."""
    session.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            or_(Delivery.claimed_until.is_(None), Delivery.claimed_until <= now),
        )
        .values(status=DeliveryStatus.PENDING, next_try_at=now, finished_at=None, round_start=Delivery.tries)
        .execution_options(synchronize_session=False)
    )


def disable(session: Session, webhook: Webhook, reason: DisabledReason, *, now: datetime) -> None:
    """Send nothing more to a webhook, whose row the caller holds. What waits for it has failed.

    Other webhooks of the project are told, unless it was asked for.
    """
    webhook.disabled_reason, webhook.disabled_at = reason, now
    session.execute(
        update(Delivery)
        .where(Delivery.webhook_id == webhook.id, Delivery.status == DeliveryStatus.PENDING)
        .values(status=DeliveryStatus.FAILED, finished_at=now, claimed_until=None, error=WAS_DISABLED)
        .execution_options(synchronize_session=False)
    )
    if reason is DisabledReason.REQUEST:
        return
    message = WebhookMessage(type=DISABLED, created_at=now, data=MessageData(id=webhook.id, reason=reason))
    others = select(Webhook).where(
        Webhook.project_id == webhook.project_id, Webhook.id != webhook.id, enabled_in_live_projects()
    )
    for other in session.scalars(others.with_for_update(read=True, key_share=True)):
        if is_wanted(DISABLED, other.events):
            session.add(a_delivery(other.id, message, now=now))
