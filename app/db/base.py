"""Declarative base: constraint names and column types that are alike on every database."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.ids import (
    AdapterId,
    ApiKeyId,
    AuditId,
    CheckpointId,
    DeliveryId,
    EvaluationId,
    EventId,
    ExportId,
    FactSetId,
    FileId,
    JobId,
    ProjectId,
    WebhookId,
    WorkerId,
)

JsonObject = dict[str, Any]
JsonList = list[Any]


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware instant. SQLite drops the offset, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=value.tzinfo or UTC)


def _values(members: type[StrEnum]) -> list[str]:
    return [member.value for member in members]


def enum_column(enum: type[StrEnum], name: str, *, checked: bool = True) -> Enum:
    """Store an enum by value in a VARCHAR, alike on SQLite and Postgres.

    Args:
        checked: With a CHECK, which SQLite cannot add to a table that is there already.
    """
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=checked,
        length=32,
        values_callable=_values,
    )


JSON_COLUMN = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class WrittenJson(TypeDecorator[str]):
    """A document that is JSON text already, for columns of `JsonObject`. For writing alone."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else JSON())

    def bind_processor(self, dialect: Dialect) -> None:
        """Hand the text on as it is."""


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        int: BigInteger(),
        JsonObject: JSON_COLUMN,
        JsonList: JSON_COLUMN,
        ProjectId: String(40),
        FactSetId: String(40),
        FileId: String(40),
        JobId: String(40),
        AdapterId: String(40),
        EvaluationId: String(40),
        ExportId: String(40),
        CheckpointId: String(40),
        EventId: String(40),
        ApiKeyId: String(40),
        AuditId: String(40),
        WebhookId: String(40),
        DeliveryId: String(40),
        WorkerId: String(40),
    }
