"""Secrets of the deployment itself, which nobody has to configure: made by whoever needs one first."""

import secrets

from sqlalchemy import String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.engine import Database


class InstanceSecret(Base):
    """A secret that all processes share. `secret` is in hex."""

    __tablename__ = "instance_secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret: Mapped[str] = mapped_column(String(64))


def secret_of(database: Database, name: str) -> bytes:
    """Return the secret of that name: 32 bytes, the same for all who ask."""
    found = _find(database, name)
    if found is None:
        try:
            with database.begin() as session:
                session.add(InstanceSecret(name=name, secret=secrets.token_hex(32)))
        except IntegrityError:  # another process was faster
            pass
        found = _find(database, name)
    if found is None:  # never sign with nothing
        raise RuntimeError(f"the database keeps no secret {name}")
    return bytes.fromhex(found)


def _find(database: Database, name: str) -> str | None:
    with database.glance() as session:
        return session.scalars(select(InstanceSecret.secret).where(InstanceSecret.name == name)).one_or_none()
