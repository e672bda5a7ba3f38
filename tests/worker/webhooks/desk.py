"""A desk of webhooks: a postman, real requests, and a clock of our own."""

import itertools
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.db.engine import Database
from app.ids import DeliveryId, JobId, ProjectId, WebhookId
from app.jobs import repository as jobs
from app.jobs.models import Job
from app.jobs.states import Action
from app.projects.models import DEFAULT_PROJECT
from app.webhooks import outbox, sending, service
from app.webhooks.addresses import Rules
from app.webhooks.models import Delivery, Webhook
from app.webhooks.schemas import DeliveryDetail, DeliveryRead, WebhookCreate, WebhookCreated, WebhookUpdate
from tests.factories import NOW, a_job
from worker.webhooks.posting import Poster
from worker.webhooks.postman import LANES, Postman

LOOPBACK = Rules(("127.0.0.0/8",), http=True)
GIVE_UP = timedelta(days=3)
PATIENCE = 300.0
"""Seconds for a try that is to come to an end by itself."""


class Desk:
    """A postman, and a clock that only moves when it is told to."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.database = Database(database.engine, clock=lambda: self.now)
        self.postmen: list[Postman] = []
        self.postman = self.another()

    def another(
        self,
        *,
        rules: Rules = LOOPBACK,
        timeout: float = PATIENCE,
        lanes: int = LANES,
        chance: float = 0.0,
        poster: Poster | None = None,
        pool: Executor | None = None,
    ) -> Postman:
        """Employ a postman. Turns of its lanes end after many messages, and not after a time."""
        looks = itertools.count()
        postman = Postman(
            self.database,
            poster or Poster(rules, timeout=timedelta(seconds=timeout)),
            give_up=GIVE_UP,
            lanes=lanes,
            chance=lambda: chance,
            ticks=lambda: next(looks) / 1000,
            pool=pool,
        )
        self.postmen.append(postman)
        return postman

    def on_its_way(self, webhook_id: WebhookId) -> sending.Parcel:
        """Let a message be for a webhook, and claim it as a sender does."""
        self.cancelled_job()
        with self.database.begin() as session:
            outbox.note_some(session, now=self.now)
        parcel = self.claim(webhook_id)
        assert parcel is not None
        return parcel

    def claim(self, webhook_id: WebhookId) -> sending.Parcel | None:
        with self.database.begin() as session:
            return sending.claim(session, webhook_id, now=self.now)

    def work(self, postman: Postman | None = None) -> None:
        """Send what is due, and wait for it."""
        postman = postman or self.postman
        postman.tick()
        postman.settle()

    def later(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    def hook(
        self, url: str, *events: str, project_id: ProjectId = DEFAULT_PROJECT, enabled: bool = True
    ) -> WebhookCreated:
        request = WebhookCreate(url=url, events=list(events or ("job.*",)), enabled=enabled)
        return service.create_webhook(
            self.database, project_id=project_id, request=request, check_url=lambda _: None
        )

    def cancelled_job(self, **values: Any) -> JobId:
        """A job whose story ends with one event: that it was cancelled."""
        job_id = a_job(self.database, **values)
        with self.database.begin() as session:
            project_id = session.scalars(select(Job.project_id).where(Job.id == job_id)).one()
            jobs.act(session, job_id, Action.CANCEL, project_id=project_id, now=self.now)
        return job_id

    def deliveries(self, webhook_id: WebhookId) -> list[Delivery]:
        with self.database.read() as session:
            statement = select(Delivery).where(Delivery.webhook_id == webhook_id)
            return list(session.scalars(statement.order_by(Delivery.id)))

    def delivery(self, webhook_id: WebhookId) -> DeliveryDetail:
        (row,) = self.deliveries(webhook_id)
        return self.detail(row.id)

    def detail(self, delivery_id: DeliveryId) -> DeliveryDetail:
        return service.get_delivery(self.database, project_id=DEFAULT_PROJECT, delivery_id=delivery_id)

    def webhook(self, webhook_id: WebhookId) -> Webhook:
        with self.database.read() as session:
            return session.scalars(select(Webhook).where(Webhook.id == webhook_id)).one()

    def redeliver(self, delivery_id: DeliveryId) -> DeliveryRead:
        return service.redeliver(self.database, project_id=DEFAULT_PROJECT, delivery_id=delivery_id)

    def update(self, webhook_id: WebhookId, **changes: Any) -> None:
        service.update_webhook(
            self.database,
            project_id=DEFAULT_PROJECT,
            webhook_id=webhook_id,
            request=WebhookUpdate(**changes),
            check_url=lambda _: None,
        )
