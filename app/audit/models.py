"""The audit trail. Rows are only ever added: the database refuses to change one."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.ids import ApiKeyId, AuditId, ProjectId


class AuditEntry(Base):
    """One request: who asked, by which key, for what, of which thing, and what was answered.

    `key_id` is null without a key. `target` is an id as it was sent, whatever there is of that name; of
    what was made, its own. No foreign key to keys: rows of a trail outlive what they speak of.
    """

    __tablename__ = "audit_entries"

    id: Mapped[AuditId] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[ApiKeyId | None]
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[int] = mapped_column(SmallInteger)
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(40))

    __table_args__ = (Index(None, "project_id", "id"),)
