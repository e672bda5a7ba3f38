"""INSERT that tolerates its own earlier self, alike on Postgres and SQLite."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.base import Base


def upsert(
    session: Session, table: type[Base], rows: Sequence[dict[str, Any]], *, update: Sequence[str]
) -> None:
    """Insert rows; of those that are there already, by primary key, only set the columns `update`."""
    if not rows:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(rows)
    key = list(inspect(table).primary_key)
    if update:
        changes = {name: statement.excluded[name] for name in update}
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))
    else:
        session.execute(statement.on_conflict_do_nothing(index_elements=key))
