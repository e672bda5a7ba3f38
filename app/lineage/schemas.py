"""What clients receive about where an adapter comes from."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.adapters.models import AdapterStatus
from app.ids import AdapterId, FactSetId, JobId
from app.jobs.states import JobStatus


class LineageJob(BaseModel):
    id: JobId
    name: str | None
    status: JobStatus
    created_at: datetime
    finished_at: datetime | None


class LineageFactSet(BaseModel):
    id: FactSetId
    name: str
    n_facts: int
    sha256: Annotated[str, Field(description="Of its canonical form.")]
    deleted: Annotated[bool, Field(description="Whether its facts are gone.")]


class LineageBase(BaseModel):
    id: str
    revision: str


class LineageMethod(BaseModel):
    type: str
    variant: Annotated[int, Field(description="Place in the job's list of `lam`.")]


class AdapterLineage(BaseModel):
    """What an adapter was made from, and what has become of that."""

    adapter_id: AdapterId
    sha256: Annotated[str, Field(description="Of the manifest, which has every setting.")]
    status: AdapterStatus
    created_at: datetime
    released_at: Annotated[datetime | None, Field(description="When a quarantine was ended.")]
    release_reason: str | None
    imported: Annotated[bool, Field(description="Whether it was made elsewhere.")] = False
    job: Annotated[LineageJob | None, Field(description="Null: it was deleted, or there never was one.")]
    fact_set: Annotated[LineageFactSet | None, Field(description="Null: it is not known here.")]
    base_model: LineageBase
    method: LineageMethod
    parent: Annotated[
        AdapterId | None,
        Field(description="The adapter that training began from. Null: it was the base model."),
    ] = None
    children: Annotated[
        list[AdapterId], Field(description="Adapters that were trained from it, the oldest first.")
    ] = []
