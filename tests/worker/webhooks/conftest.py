"""Webhooks from the event to the receiver: real requests to a real server, with a clock of our own."""

from collections.abc import Iterator

import pytest

from app.db.engine import Database
from tests.worker.receiver import Receiver, receiving
from tests.worker.webhooks.desk import Desk


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    desk = Desk(database)
    yield desk
    for postman in desk.postmen:
        postman.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
