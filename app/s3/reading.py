"""An object of S3 as a file that is read from start to end."""

import io
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from app.s3.calls import BeyondTheEndError, Calls
from app.storage import StoreUnavailableError

log = structlog.get_logger(__name__)


class Reader(io.RawIOBase):
    """Reads on where a connection broke off, as if it had not."""

    def __init__(self, calls: Calls, key: str, start: int = 0) -> None:
        """Begin to read at byte `start`.

        Raises:
            FileNotFoundError: There is no such object.
        """
        super().__init__()
        self._calls, self._key = calls, key
        self._at = start
        self._end: int | None = None
        self._body: Any = None
        self._open()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read some bytes.

        Raises:
            StoreUnavailableError: S3 breaks off again and again.
        """
        failed, chunk = 0, b""
        while True:
            try:
                chunk = self._body.read(len(buffer)) if self._body else b""
                if chunk or self._at == self._end:
                    break
                said = "ended early"
            except (BotoCoreError, HTTPError) as error:  # botocore does not know all that urllib3 raises
                said = type(error).__name__
            if failed >= self._calls.retries:
                raise StoreUnavailableError(f"S3 broke off in {self._key} at byte {self._at}: {said}")
            log.warning("s3.read_on", key=self._key, at=self._at, error=said)
            self._calls.pause(failed)
            failed += 1
            self._open()
        memoryview(buffer)[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()

    def _open(self) -> None:
        """Ask for what is left."""
        if self._body is not None:
            self._body.close()
            self._body = None
        part: dict[str, Any] = {"Range": f"bytes={self._at}-"} if self._at else {}
        try:
            answer = self._calls.ask("get_object", Key=self._key, **part)
        except BeyondTheEndError:
            self._end = self._at
            return
        if part and "ContentRange" not in answer:
            answer["Body"].close()
            raise StoreUnavailableError(f"S3 sends all of {self._key} where a part of it was asked for")
        self._body = answer["Body"]
        end = self._at + int(answer["ContentLength"])
        if self._end not in {None, end}:
            raise StoreUnavailableError(f"{self._key} changed while it was read")
        self._end = end
