"""Alembic's entry point. The caller supplies the engine, or the environment does."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON

from app.db.base import UtcDateTime
from app.db.engine import make_engine, without_limits
from app.settings import Settings
from app.tables import Base


def render_item(kind: str, item: object, autogenerate: AutogenContext) -> str | Literal[False]:
    """Write our column types as plain SQLAlchemy ones, so that migrations outlive the code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def include_object(item: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:  # noqa: FBT001
    """Leave out of the comparison what SQLite cannot reflect: the index with a descending column."""
    return not (kind == "index" and name == "ix_jobs_claim" and engine.dialect.name == "sqlite")


engine = context.config.attributes.get("engine") or make_engine(Settings().database)

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_item=render_item,
        include_object=include_object,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        without_limits(connection)
        context.run_migrations()
