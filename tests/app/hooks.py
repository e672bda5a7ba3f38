"""A webhook to which something was sent."""

from app.db.engine import Database
from app.ids import ProjectId
from app.webhooks import sending, service
from app.webhooks.schemas import WebhookCreate


def a_delivered_webhook(database: Database, project_id: ProjectId) -> dict[str, str]:
    """Store one, with a message that was taken. Returns the ids of both."""
    request = WebhookCreate(url="https://hooks.example.com/x", events=["*"])
    made = service.create_webhook(database, project_id=project_id, request=request, check_url=lambda _: None)
    service.test_webhook(database, project_id=project_id, webhook_id=made.id)
    with database.begin() as session:
        parcel = sending.claim(session, made.id, now=database.now(session))
    assert parcel is not None
    with database.begin() as session:
        taken = sending.Outcome(seconds=0.1, status=200, response="thanks")
        now = database.now(session)
        sending.record(session, parcel, taken, now=now, give_up=sending.CLAIM, chance=0)
    return {"webhook_id": made.id, "delivery_id": parcel.delivery_id}
