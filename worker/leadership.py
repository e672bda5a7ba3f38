"""One sweeper at work at a time. The others stand by, and take over when it is gone."""

from typing import Final

import structlog
from sqlalchemy import Connection, select
from sqlalchemy.sql import func

from app.db.engine import Database
from worker.transactions import TRANSIENT

log = structlog.get_logger(__name__)

_LOCK: Final = 0x6D697873  # "mixs"


class Leadership:
    """An advisory lock of Postgres, held by a connection of its own: it ends with the process.

    On SQLite there is one process, which always leads.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    def held(self) -> bool:
        """Say whether this process leads, after trying to if it did not.

        Raises:
            OperationalError: The database is away. Leadership is given up.
        """
        if self._database.is_sqlite:
            return True
        try:
            if self._connection is not None:
                self._connection.scalar(select(1))
                return True
            return self._try()
        except TRANSIENT:
            self.release()
            raise

    def _try(self) -> bool:
        connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # it never goes back to the pool: closing it ends the session
        self._connection = connection
        if connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            log.info("sweeper.leads")
            return True
        self.release()
        return False

    def release(self) -> None:
        """Let another one lead. The session ends, and with it the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
