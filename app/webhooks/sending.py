"""What senders do to messages, each as guarded statements: nobody sends one while another one does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from app.ids import DeliveryId, WebhookId
from app.webhooks import repository
from app.webhooks.models import Delivery, DeliveryTry, Webhook
from app.webhooks.repository import enabled_in_live_projects
from app.webhooks.states import TEST, DeliveryStatus, DisabledReason

PAUSES: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 60, 300, 1800, 7200, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600)
)
"""Between one try and the next: ten tries within 51 hours and a half."""

SPREAD: Final = 0.2
"""A pause is longer by up to this share, by chance, so that what failed together does not come together."""

LONGEST_WAIT: Final = timedelta(hours=24)
"""A `Retry-After` beyond this is taken for this."""

CLAIM: Final = timedelta(seconds=60)
"""How long a sender has a message for itself. One that dies leaves it for that long."""

_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message in the hands of a sender. `number` is that of the try."""

    delivery_id: DeliveryId
    webhook_id: WebhookId
    number: int
    body: str
    url: str
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try went: an answer's status and the beginning of its body, or an error."""

    seconds: float
    status: int | None = None
    response: str | None = None
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def due_webhooks(session: Session, *, now: datetime) -> Sequence[tuple[WebhookId, bool]]:
    """Return the webhooks that have messages to be sent, and whether they are failing."""
    waiting = exists().where(Delivery.webhook_id == Webhook.id, _is_due(now))
    rows = session.execute(
        select(Webhook.id, Webhook.failing_since).where(enabled_in_live_projects(), waiting)
    )
    return [(row.id, row.failing_since is not None) for row in rows]


def claim(session: Session, webhook_id: WebhookId, *, now: datetime) -> Parcel | None:
    """Take the message to a webhook that waits longest. None if there is none."""
    webhook = session.scalars(
        select(Webhook).where(Webhook.id == webhook_id, enabled_in_live_projects())
    ).one_or_none()
    if webhook is None:
        return None
    first = (
        select(Delivery.id)
        .where(Delivery.webhook_id == webhook_id, _is_due(now))
        .order_by(Delivery.next_try_at, Delivery.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    statement = (
        update(Delivery)
        .where(Delivery.id == first, _is_due(now))
        .values(tries=Delivery.tries + 1, claimed_until=now + CLAIM)
        .returning(Delivery.id, Delivery.tries, Delivery.body)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    return Parcel(row.id, webhook_id, row.tries, row.body, webhook.url, _secrets(webhook, now))


def record(
    session: Session,
    parcel: Parcel,
    outcome: Outcome,
    *,
    now: datetime,
    give_up: timedelta,
    chance: float,
) -> DeliveryStatus | None:
    """Write down how a try went, and what comes next. None if the message went to another sender.

    Args:
        give_up: How long a webhook may fail before it is disabled.
        chance: Between 0 and 1: how much of `SPREAD` the next pause is lengthened by.
    """
    # The webhook first, as whoever disables one does: in the other order two could wait for each other.
    webhook = session.scalars(
        select(Webhook).where(Webhook.id == parcel.webhook_id).with_for_update(key_share=True)
    ).one_or_none()
    mine = and_(
        Delivery.id == parcel.delivery_id,
        Delivery.tries == parcel.number,
        Delivery.status == DeliveryStatus.PENDING,
    )
    delivery = session.scalars(select(Delivery).where(mine).with_for_update()).one_or_none()
    if webhook is None or delivery is None:
        return None
    session.add(_try_of(parcel, outcome, now))
    delivery.claimed_until = None
    delivery.response_status, delivery.error = outcome.status, outcome.error
    pause = _pause(delivery, outcome, chance)
    if outcome.taken:
        delivery.status, delivery.finished_at = DeliveryStatus.DELIVERED, now
        webhook.failing_since = None
    elif pause is None:
        delivery.status, delivery.finished_at = DeliveryStatus.FAILED, now
    else:
        delivery.next_try_at = now + pause
    if not outcome.taken and delivery.type != TEST:
        _note_failure(session, webhook, delivery, outcome, now=now, give_up=give_up)
    return delivery.status


def forget_old(session: Session, *, before: datetime) -> None:
    """Delete what is known of messages that ended before a time."""
    session.execute(delete(Delivery).where(Delivery.finished_at < before))


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(
        Delivery.status == DeliveryStatus.PENDING,
        Delivery.next_try_at <= now,
        or_(Delivery.claimed_until.is_(None), Delivery.claimed_until <= now),
    )


def _secrets(webhook: Webhook, now: datetime) -> Sequence[str]:
    if webhook.old_secret and webhook.old_secret_until and now < webhook.old_secret_until:
        return (webhook.secret, webhook.old_secret)
    return (webhook.secret,)


def _pause(delivery: Delivery, outcome: Outcome, chance: float) -> timedelta | None:
    """Return the time until the next try; None if there is none."""
    place = delivery.tries - delivery.round_start - 1
    if outcome.status == _GONE or delivery.type == TEST or place >= len(PAUSES):
        return None
    usual = PAUSES[place] * (1 + SPREAD * chance)
    return max(usual, min(outcome.retry_after or usual, LONGEST_WAIT))


def _note_failure(
    session: Session,
    webhook: Webhook,
    delivery: Delivery,
    outcome: Outcome,
    *,
    now: datetime,
    give_up: timedelta,
) -> None:
    """Disable a webhook that says it is gone, or one that lost a message after failing for long."""
    webhook.failing_since = webhook.failing_since or now
    if not webhook.enabled:
        return
    if outcome.status == _GONE:
        repository.disable(session, webhook, DisabledReason.GONE, now=now)
    elif delivery.status is DeliveryStatus.FAILED and now - webhook.failing_since >= give_up:
        repository.disable(session, webhook, DisabledReason.FAILING, now=now)


def _try_of(parcel: Parcel, outcome: Outcome, now: datetime) -> DeliveryTry:
    values: dict[str, Any] = {
        "delivery_id": parcel.delivery_id,
        "number": parcel.number,
        "at": now - timedelta(seconds=outcome.seconds),
        "seconds": math.ceil(outcome.seconds * 1000) / 1000,
        "response_status": outcome.status,
        "response": outcome.response,
        "error": outcome.error,
    }
    return DeliveryTry(**values)
