"""Fact sets and their facts. Both are immutable: changed facts make a new set."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, enum_column
from app.ids import FactSetId, ProjectId


class FactSetStatus(StrEnum):
    READY = "ready"
    DELETED = "deleted"


class FactSet(Base):
    """A named, immutable set of facts. `sha256` is that of its canonical form."""

    __tablename__ = "fact_sets"

    id: Mapped[FactSetId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    status: Mapped[FactSetStatus] = mapped_column(enum_column(FactSetStatus, "status"))
    n_facts: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "project_id", "id"),)


class FactRow(Base):
    """One fact. `body` holds every field that api.md names, as `mixsd.facts` writes it."""

    __tablename__ = "facts"

    fact_set_id: Mapped[FactSetId] = mapped_column(
        ForeignKey("fact_sets.id", ondelete="CASCADE"), primary_key=True
    )
    ord: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str]
    body: Mapped[JsonObject]

    __table_args__ = (UniqueConstraint("fact_set_id", "key"),)
