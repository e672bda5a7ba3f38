"""Connections to Postgres are tried only after a rest."""

import time

from sqlalchemy import create_engine, text

from app.db import engine as engines
from app.db.engine import make_engine
from tests.unhurried import unhurried


def test_a_connection_that_the_server_has_ended_is_renewed_after_a_rest(postgres_url: str) -> None:
    engine = unhurried(make_engine(postgres_url))
    with engine.connect() as connection:
        ended = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 120000)"), {"pid": ended})
    admin.dispose()
    time.sleep(engines.REST + 0.1)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != ended

    engine.dispose()
