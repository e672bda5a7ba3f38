"""What clients receive about files."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from app.files.models import UploadedFile
from app.ids import FactSetId, FileId


class OpenAIFile(BaseModel):
    id: FileId
    object: Literal["file"]
    bytes: int
    created_at: Annotated[int, Field(description="Seconds of Unix time, as all times of this API.")]
    expires_at: Annotated[None, Field(description="Files stay until they are deleted.")]
    filename: str
    purpose: Literal["fine-tune"]
    status: Annotated[Literal["processed"], Field(description="A file that cannot be used is refused.")]
    status_details: None
    fact_set_id: Annotated[FactSetId, Field(description="Beyond OpenAI's: the facts that were made of it.")]

    @classmethod
    def of(cls, row: UploadedFile) -> Self:
        return cls(
            id=row.id,
            object="file",
            bytes=row.bytes,
            created_at=int(row.created_at.timestamp()),
            expires_at=None,
            filename=row.name,
            purpose="fine-tune",
            status="processed",
            status_details=None,
            fact_set_id=row.fact_set_id,
        )


class OpenAIFileDeleted(BaseModel):
    id: FileId
    object: Literal["file"]
    deleted: Literal[True]
