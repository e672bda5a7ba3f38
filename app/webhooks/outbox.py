"""From events to messages: each event is looked at once, and noted for whoever asked for it.

An event says itself whether it was looked at, and that changes in the transaction that writes the
messages. So neither a crash nor a transaction that ends late loses one, and what jobs do costs
nothing more than an entry in an index, whether anybody listens or not.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, column, select, table, update
from sqlalchemy.orm import Session

from app.events.models import Event
from app.ids import JobId, ProjectId
from app.webhooks.messages import MessageData, WebhookMessage
from app.webhooks.models import Webhook
from app.webhooks.repository import a_delivery, enabled_in_live_projects
from app.webhooks.states import is_wanted

BATCH: Final = 500

_JOBS: Final = table("jobs", column("id"), column("project_id"))
_MADE: Final = {
    "adapter": table("adapters", column("id"), column("job_id"), column("variant")),
    "evaluation": table("evaluations", column("id"), column("job_id"), column("adapter_id")),
}
"""What this feature must know of the rows of others: whose a job is, and what it has made."""


def has_news(session: Session) -> bool:
    """Say whether there is an event that was not looked at."""
    return session.scalars(select(Event.id).where(~Event.told).limit(1)).one_or_none() is not None


def note_some(session: Session, *, now: datetime) -> int:
    """Look at some events, oldest first. Returns how many; fewer than `BATCH` means that no more wait.

    Those that another process looks at are left to it.
    """
    waiting = _waiting().order_by(Event.id).limit(BATCH)
    return _note(session, waiting.with_for_update(of=Event, skip_locked=True), now=now)


def note_all_of(session: Session, job_id: JobId, *, now: datetime) -> None:
    """Look at the events of a job that is about to be deleted, and whose row the caller holds."""
    _note(session, _waiting().where(Event.job_id == job_id).with_for_update(of=Event), now=now)


def _waiting() -> Select[tuple[Any, ...]]:
    columns = (Event.id, Event.job_id, Event.seq, Event.type, Event.attempt, Event.phase, Event.data)
    return (
        select(*columns, Event.created_at, _JOBS.c.project_id)
        .join(_JOBS, _JOBS.c.id == Event.job_id)
        .where(~Event.told)
    )


def _note(session: Session, waiting: Select[tuple[Any, ...]], *, now: datetime) -> int:
    events = session.execute(waiting).all()
    if not events:
        return 0
    webhooks = _webhooks_of(session, {event.project_id for event in events})
    for event in events:
        wanted = [hook for hook in webhooks.get(event.project_id, ()) if _is_for(event, hook)]
        if wanted:
            message = _message_of(session, event)
            session.add_all(a_delivery(hook.id, message, now=now) for hook in wanted)
    session.flush()
    session.execute(
        update(Event)
        .where(Event.id.in_([event.id for event in events]))
        .values(told=True)
        .execution_options(synchronize_session=False)
    )
    return len(events)


def _webhooks_of(session: Session, projects: Iterable[ProjectId]) -> Mapping[ProjectId, Sequence[Webhook]]:
    """Return whom to tell, and let none of them be deleted until the commit."""
    statement = select(Webhook).where(Webhook.project_id.in_(projects), enabled_in_live_projects())
    found: dict[ProjectId, list[Webhook]] = {}
    for webhook in session.scalars(statement.with_for_update(read=True, key_share=True)):
        found.setdefault(webhook.project_id, []).append(webhook)
    return found


def _is_for(event: Row[Any], webhook: Webhook) -> bool:
    return event.created_at >= webhook.created_at and is_wanted(event.type, webhook.events)


def _message_of(session: Session, event: Row[Any]) -> WebhookMessage:
    data = MessageData(
        id=_thing_of(session, event),
        job_id=event.job_id,
        event_id=event.id,
        seq=event.seq,
        attempt=event.attempt,
        phase=event.phase,
    )
    return WebhookMessage(type=event.type, created_at=event.created_at, data=data)


def _thing_of(session: Session, event: Row[Any]) -> str:
    """Return the id of what the event is about, by the first word of its type."""
    kind = event.type.partition(".")[0]
    if kind not in _MADE:
        return str(event.job_id)
    if named := event.data.get(f"{kind}_id"):
        return str(named)
    found = session.scalars(_made_by(kind, event.job_id, event.data.get("variant")).limit(1))
    return str(found.one_or_none() or event.job_id)


def _made_by(kind: str, job_id: JobId, variant: int | None) -> Select[tuple[Any]]:
    """Select what a job has made, or one of its variants if the event names one."""
    adapters, made = _MADE["adapter"], _MADE[kind]
    of_job = select(adapters.c.id).where(adapters.c.job_id == job_id)
    if variant is not None:
        of_job = of_job.where(adapters.c.variant == variant)
    if kind == "adapter":
        return of_job.order_by(adapters.c.variant)
    statement = select(made.c.id).where(made.c.job_id == job_id).order_by(made.c.id)
    return statement if variant is None else statement.where(made.c.adapter_id.in_(of_job))
