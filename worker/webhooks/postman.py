"""The loop that tells others what happened. It waits for receivers, so it has threads of its own."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final, Self

import structlog

from app.db.engine import Database
from app.ids import WebhookId
from app.settings import Settings
from app.webhooks import outbox, sending
from app.webhooks.addresses import Rules
from app.webhooks.sending import Outcome, Parcel
from worker.transactions import TRANSIENT, write
from worker.webhooks.posting import Poster

log = structlog.get_logger(__name__)

POLL: Final = 1.0
"""Seconds between two looks for what is to be sent."""

LANES: Final = 16
"""Requests under way at once."""

LANES_OF_ONE: Final = 2
"""Of these, to one webhook; one that is failing has a single one."""

TURN: Final = 10.0
"""Seconds after which a lane is given back, so that a webhook for which much waits does not keep it."""

_TO_WRITE_DOWN: Final = timedelta(seconds=30)


class Postman:
    """Safe to run anywhere and in any number: messages are claimed. Nobody needs to lead.

    A webhook is served in lanes, of which it has few: while some are slow, the others have the rest.
    """

    def __init__(
        self,
        database: Database,
        poster: Poster,
        *,
        give_up: timedelta,
        lanes: int = LANES,
        chance: Callable[[], float] = random.random,
        ticks: Callable[[], float] = time.monotonic,
        pool: Executor | None = None,
    ) -> None:
        self._database = database
        self._poster = poster
        self._give_up = give_up
        self._lanes = lanes
        self._chance = chance
        self._ticks = ticks
        self._pool = pool or ThreadPoolExecutor(lanes, thread_name_prefix="postman")
        self._lock = threading.Lock()
        self._busy: Counter[WebhookId] = Counter()
        self._served: dict[WebhookId, float] = {}
        self._under_way: set[Future[None]] = set()
        self._closing = False

    @classmethod
    def of(cls, database: Database, settings: Settings) -> Self:
        """Make the one that the settings ask for."""
        rules = Rules(settings.webhook_allow, http=settings.webhook_http)
        poster = Poster(rules, timeout=settings.webhook_timeout)
        return cls(database, poster, give_up=settings.webhook_give_up)

    def run(self, wait: Callable[[float], bool]) -> None:
        """Send until `wait`, given the seconds to the next time, answers True."""
        try:
            while not wait(POLL):
                self.tick()
        finally:
            self.close()

    def tick(self) -> None:
        """Note what happened, and begin to send what is due. Waits for nobody."""
        try:
            self._note()
            self._open_lanes()
        except TRANSIENT as error:
            log.warning("webhooks.failed", error=type(error).__name__)
        except Exception:  # whatever it is, the next look may do better
            log.exception("webhooks.failed")

    def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            futures.wait(set(self._under_way))

    def close(self) -> None:
        """End, after what is under way: a request has a time-out."""
        self._closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _note(self) -> None:
        """Turn events into messages."""
        with self._database.read() as session:
            more = outbox.has_news(session)
        while more and not self._closing:
            with self._database.begin() as session:
                more = outbox.note_some(session, now=self._database.now(session)) == outbox.BATCH

    def _open_lanes(self) -> None:
        """Serve the webhooks that have waited longest, each in as many lanes as it may have."""
        with self._database.read() as session:
            due = sending.due_webhooks(session, now=self._database.now(session))
        opened = []
        with self._lock:
            for webhook_id in self._chosen(due):
                self._busy[webhook_id] += 1
                self._served[webhook_id] = self._ticks()
                future = self._pool.submit(self._serve, webhook_id)
                self._under_way.add(future)
                opened.append((future, webhook_id))
        for future, webhook_id in opened:  # without the lock: one that is done is given back here and now
            future.add_done_callback(partial(self._give_back, webhook_id=webhook_id))

    def _chosen(self, due: Sequence[tuple[WebhookId, bool]]) -> Sequence[WebhookId]:
        """Return whom to open lanes for, once for each lane: first one lane each, then a second."""
        room = {hook: (1 if failing else LANES_OF_ONE) - self._busy[hook] for hook, failing in due}
        in_turn = sorted(room, key=lambda hook: self._served.get(hook, 0.0))
        self._served = {hook: at for hook, at in self._served.items() if hook in room or self._busy[hook]}
        wanted = [hook for place in range(LANES_OF_ONE) for hook in in_turn if room[hook] > place]
        return wanted[: self._lanes - self._busy.total()]

    def _give_back(self, done: Future[None], webhook_id: WebhookId) -> None:
        with self._lock:
            self._busy[webhook_id] -= 1
            self._busy += Counter()  # drops what is zero
            self._under_way.discard(done)

    def _serve(self, webhook_id: WebhookId) -> None:
        """Send message after message, until there is none or the turn is over."""
        until = self._ticks() + TURN
        try:
            while not self._closing and self._ticks() < until:
                with self._database.begin() as session:
                    parcel = sending.claim(session, webhook_id, now=self._database.now(session))
                if parcel is None:
                    return
                self._record(parcel, self._post(parcel))
        except TRANSIENT as error:  # what was claimed is sent again once the claim is over
            log.warning("webhooks.failed", webhook_id=webhook_id, error=type(error).__name__)
        except Exception:
            log.exception("webhooks.failed", webhook_id=webhook_id)

    def _post(self, parcel: Parcel) -> Outcome:
        """Send a message. A mistake of ours counts as a try as well, or it would be made for ever."""
        begun = self._ticks()
        try:
            return self._poster.post(parcel)
        except Exception:
            log.exception("webhook.not_sent", delivery_id=parcel.delivery_id)
            return Outcome(seconds=self._ticks() - begun, error="not sent: the log of the sweeper says why")

    def _record(self, parcel: Parcel, outcome: Outcome) -> None:
        chance = self._chance()
        status = write(
            self._database,
            lambda session: sending.record(
                session,
                parcel,
                outcome,
                now=self._database.now(session),
                give_up=self._give_up,
                chance=chance,
            ),
            patience=_TO_WRITE_DOWN,
        )
        log.info(
            "webhook.tried",
            webhook_id=parcel.webhook_id,
            delivery_id=parcel.delivery_id,
            number=parcel.number,
            answered=outcome.status,
            error=outcome.error,
            status=status and str(status),
        )
