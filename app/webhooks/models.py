"""Whom to tell of events, and what was sent to them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonList, enum_column
from app.ids import DeliveryId, EventId, JobId, ProjectId, WebhookId
from app.webhooks.states import DeliveryStatus, DisabledReason, WebhookStatus


class Webhook(Base):
    """An endpoint. It is enabled unless `disabled_reason` says why it is not.

    `secret` is kept as it is: it signs. `old_secret` signs as well until `old_secret_until`.
    `failing_since` is the time of the first failure after which nothing came through.
    """

    __tablename__ = "webhooks"

    id: Mapped[WebhookId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    url: Mapped[str]
    events: Mapped[JsonList]
    description: Mapped[str | None]
    secret: Mapped[str]
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[datetime | None]
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(
        enum_column(DisabledReason, "disabled_reason")
    )
    disabled_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "project_id", "id"),)

    @property
    def enabled(self) -> bool:
        return self.disabled_reason is None

    @property
    def status(self) -> WebhookStatus:
        if not self.enabled:
            return WebhookStatus.DISABLED
        return WebhookStatus.FAILING if self.failing_since else WebhookStatus.ACTIVE


class Delivery(Base):
    """A message to one endpoint, to be sent until it is taken. Its id is the message's.

    `body` is what is sent, to the byte, each time. Events and jobs may be deleted before it.
    `tries` counts up with every claim, so it also tells a sender that its claim went to another
    one. `round_start` is the value of it when somebody last asked for the delivery: the pauses
    between tries begin anew there. What came of the last try is repeated here for lists.
    """

    __tablename__ = "deliveries"

    id: Mapped[DeliveryId] = mapped_column(primary_key=True)
    webhook_id: Mapped[WebhookId] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[EventId | None]
    job_id: Mapped[JobId | None]
    type: Mapped[str]
    body: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(enum_column(DeliveryStatus, "status"))
    tries: Mapped[int] = mapped_column(default=0)
    round_start: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    response_status: Mapped[int | None]
    error: Mapped[str | None]

    __table_args__ = (
        Index(None, "webhook_id", "id"),
        Index(
            "ix_deliveries_due",
            "webhook_id",
            "next_try_at",
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),
    )


class DeliveryTry(Base):
    """One request, as it went. `response` is the beginning of the answer's body."""

    __tablename__ = "delivery_tries"

    delivery_id: Mapped[DeliveryId] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    seconds: Mapped[float]
    response_status: Mapped[int | None]
    response: Mapped[str | None]
    error: Mapped[str | None]
