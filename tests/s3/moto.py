"""A server that speaks S3, on loopback, and a bucket of it for each test."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import boto3

from app.s3.calls import Calls, Place
from app.s3.store import S3Store

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
SMALLEST_PART = 5 << 20
"""Bytes that a part of an upload has at least, but for the last."""

PATIENCE = 120.0
"""Seconds for a connection, and of silence: more than a busy machine takes for either."""


@contextmanager
def serving() -> Iterator[str]:
    """Run a server that is empty and forgets all. Gives its address."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield _address_in(log, process)
        finally:
            process.terminate()
            process.wait()


def a_bucket(endpoint: str) -> str:
    """Make a bucket and return its name."""
    name = f"test-{uuid4().hex}"
    client = boto3.session.Session().client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=name)
    client.close()
    return name


class Pauses:
    """Does not wait, and remembers that it was asked to."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def __call__(self, failed: int) -> None:
        self.taken.append(failed)


@contextmanager
def a_store(
    endpoint: str,
    bucket: str,
    *,
    prefix: str = "some/where",
    pauses: Pauses | None = None,
    silence: float = PATIENCE,
    link_seconds: int = 0,
    send: Callable[..., Any] | None = None,
) -> Iterator[S3Store]:
    """Give a store in a bucket, which does not wait before it tries again.

    `send` is told of each request before it is sent. What it returns is the answer, unless it is None.
    """
    place = Place(bucket, prefix, endpoint)
    calls = Calls(place, pause=pauses or Pauses(), connect=PATIENCE, silence=silence)
    if send is not None:
        calls._client.meta.events.register("before-send.s3", send)  # noqa: SLF001  nobody else has it
    store = S3Store(calls, part_bytes=SMALLEST_PART, link_seconds=link_seconds)
    try:
        yield store
    finally:
        store.close()


def keys_in(endpoint: str, bucket: str) -> list[str]:
    """List all objects of a bucket."""
    client = boto3.session.Session().client("s3", endpoint_url=endpoint)
    found = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    client.close()
    return found


def uploads_in(endpoint: str, bucket: str) -> list[str]:
    """List the uploads of a bucket that were begun and not ended."""
    client = boto3.session.Session().client("s3", endpoint_url=endpoint)
    found = [each["Key"] for each in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
    client.close()
    return found


def overwrite(endpoint: str, bucket: str, key: str, data: bytes) -> None:
    """Put other bytes in the place of an object."""
    client = boto3.session.Session().client("s3", endpoint_url=endpoint)
    client.put_object(Bucket=bucket, Key=key, Body=data)
    client.close()


def _address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the server has said where it listens."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()}")
        time.sleep(0.05)
    raise TimeoutError(f"the server does not say where it listens: {log.read_text()}")
