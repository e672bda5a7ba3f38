"""What clients send and receive about projects and API keys."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from app.access import Scope
from app.ids import ApiKeyId, ProjectId
from app.projects.models import ApiKey

Name = Annotated[str, Field(min_length=1, max_length=100)]
Scopes = Annotated[
    list[Scope], Field(min_length=1, max_length=len(Scope), description="None contains another.")
]
Quota = Annotated[
    int | None, Field(strict=True, ge=0, le=2**53, description="Null: as the settings say. 0: no limit.")
]
Expiry = Annotated[AwareDatetime | None, Field(description="Null: never.")]


def _config(**example: JsonValue) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


class ProjectQuotas(BaseModel):
    """Limits of a project's own. `gpu_seconds` is for a day, from midnight UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)

    running_jobs: Quota = None
    queued_jobs: Quota = None
    gpu_seconds: Quota = None
    stored_bytes: Quota = None


class ProjectCreate(BaseModel):
    model_config = _config(name="search", quotas={"running_jobs": 1, "queued_jobs": 20})

    name: Name
    quotas: ProjectQuotas = ProjectQuotas()


class ProjectUpdate(BaseModel):
    """What is left out stays as it is. Of `quotas`, those that are given are changed."""

    model_config = _config(quotas={"running_jobs": 2})

    name: Name | None = None
    quotas: ProjectQuotas | None = None


class ProjectRead(BaseModel):
    id: ProjectId
    name: str
    quotas: ProjectQuotas
    created_at: datetime


class ApiKeyCreate(BaseModel):
    model_config = _config(name="nightly", scopes=["read", "write"], expires_at="2099-01-01T00:00:00Z")

    name: Name
    scopes: Scopes
    expires_at: Expiry = None
    project_id: Annotated[
        ProjectId | None, Field(max_length=40, description="Another one than your own: operators only.")
    ] = None


class ApiKeyUpdate(BaseModel):
    """What is left out stays as it is; `expires_at: null` lets a key live for ever."""

    model_config = _config(name="nightly, old", expires_at="2099-01-01T00:00:00Z")

    name: Name | None = None
    scopes: Scopes | None = None
    expires_at: Expiry = None


class ApiKeyRead(BaseModel):
    """A key, without its secret."""

    id: ApiKeyId
    project_id: ProjectId
    name: str
    prefix: Annotated[str, Field(description="How the secret begins.")]
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="Exact to about a minute.")]
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls.model_validate(key, from_attributes=True)


class ApiKeyCreated(ApiKeyRead):
    secret: Annotated[str, Field(description="Shown this once: it is not kept.")]
