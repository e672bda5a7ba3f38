"""What clients send and receive about webhooks, and what webhooks send."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from app.ids import DeliveryId, EventId, JobId, WebhookId
from app.webhooks.messages import WebhookMessage
from app.webhooks.models import Delivery, DeliveryTry, Webhook
from app.webhooks.states import PATTERNS, DeliveryStatus, DisabledReason, WebhookStatus

MOST_OVERLAP = 7 * 86_400


def _known(pattern: str) -> str:
    if pattern not in PATTERNS:
        kinds = ", ".join(sorted(pattern for pattern in PATTERNS if pattern.endswith("*")))
        raise PydanticCustomError(
            "unknown_value", "expected a type of events, or one of {kinds}", {"kinds": kinds}
        )
    return pattern


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="Where to; https, and public.",
        json_schema_extra={"format": "uri", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\u0000\\@#]+$"},
    ),
]
Events = Annotated[
    list[Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(PATTERNS)})]],
    Field(
        min_length=1,
        max_length=50,
        description="Types such as `job.failed`, all of a kind as `job.*`, or `*`.",
    ),
]
Description = Annotated[str, Field(max_length=1000)]


def _config(**example: JsonValue) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra={"examples": [example]})


class WebhookCreate(BaseModel):
    model_config = _config(
        url="https://hooks.example.com/mixsd", events=["job.succeeded", "job.failed", "adapter.*"]
    )

    url: Url
    events: Events
    description: Description | None = None
    enabled: bool = True


class WebhookUpdate(BaseModel):
    """What is left out stays as it is."""

    model_config = _config(events=["job.*"], enabled=True)

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None


class SecretRotation(BaseModel):
    model_config = _config(overlap_seconds=3600)

    overlap_seconds: Annotated[
        int,
        Field(ge=0, le=MOST_OVERLAP, description="How long messages are signed with the old secret as well."),
    ] = 86_400


class WebhookRead(BaseModel):
    """An endpoint, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: WebhookId
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    status: WebhookStatus
    disabled_reason: Annotated[DisabledReason | None, Field(description="Null while it is enabled.")]
    disabled_at: datetime | None
    failing_since: Annotated[
        datetime | None, Field(description="The first failure after which nothing came through.")
    ]
    old_secret_until: Annotated[
        datetime | None, Field(description="Until when the secret before the last rotation signs as well.")
    ]
    created_at: datetime


class WebhookCreated(WebhookRead):
    secret: Annotated[str, Field(description="Checks signatures. Shown this once.")]

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        return cls.model_validate(webhook)


class DeliveryRead(BaseModel):
    """A message to one endpoint; the header `webhook-id` is its id, however often it is sent."""

    model_config = ConfigDict(from_attributes=True)

    id: DeliveryId
    webhook_id: WebhookId
    type: str
    event_id: EventId | None
    job_id: JobId | None
    status: DeliveryStatus
    tries: int
    next_try_at: Annotated[datetime | None, Field(description="Null once it has ended.")]
    created_at: datetime
    finished_at: datetime | None
    response_status: Annotated[int | None, Field(description="Of the last try.")]
    error: Annotated[str | None, Field(description="What was wrong with the last try.")]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        shown = cls.model_validate(delivery)
        ended = delivery.status is not DeliveryStatus.PENDING
        return shown.model_copy(update={"next_try_at": None}) if ended else shown


class TryRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime
    seconds: float
    response_status: int | None
    response: Annotated[str | None, Field(description="The first 1,024 bytes of the answer.")]
    error: str | None


class DeliveryDetail(DeliveryRead):
    message: Annotated[WebhookMessage, Field(description="What is sent.")]
    log: Annotated[list[TryRead], Field(description="The last 50 tries, newest first.")]

    @classmethod
    def with_log(cls, delivery: Delivery, tries: Sequence[DeliveryTry]) -> Self:
        shown = DeliveryRead.of(delivery).model_dump()
        message = WebhookMessage.model_validate_json(delivery.body)
        return cls(**shown, message=message, log=[TryRead.model_validate(row) for row in tries])
