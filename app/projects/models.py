"""Projects. Everything else belongs to one."""

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.ids import ProjectId

DEFAULT_PROJECT: Final = ProjectId("prj_default")
"""The project of every request until there are API keys. The first migration creates it."""


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[ProjectId] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
