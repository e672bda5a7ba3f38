"""A bucket of S3 for each test, and a server in front of it that may lie."""

from collections.abc import Iterator

import pytest

from app.s3.store import S3Store
from tests.s3 import moto
from tests.s3.lying import LyingServer
from tests.s3.moto import Pauses


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    return moto.a_bucket(s3_endpoint)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def s3_store(s3_endpoint: str, bucket: str) -> Iterator[S3Store]:
    with moto.a_store(s3_endpoint, bucket) as store:
        yield store


@pytest.fixture
def lying(s3_endpoint: str) -> Iterator[LyingServer]:
    with LyingServer(s3_endpoint) as server:
        yield server
