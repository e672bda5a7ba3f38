"""The artifact store in a bucket of S3, or of a server that speaks its language."""

import base64
import errno
import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import structlog

from app.s3.calls import AlreadyThereError, Calls, GarbledError, UnsupportedError
from app.s3.reading import Reader
from app.storage import (
    CHUNK,
    CorruptBlobError,
    Kept,
    StoredBlob,
    StoreUnavailableError,
    Verified,
    checked,
    is_digest,
    read_to_the_end,
)

log = structlog.get_logger(__name__)

PART: Final = 16 << 20
"""Bytes of a part of an upload, which is held in memory. What is not longer goes in one call."""

_MOST_PARTS: Final = 10_000
_ABORT_RETRIES: Final = 2

_RENEWED_AFTER: Final = 3600.0
"""Age at which what is there is put again. Else the sweeper, which spares what is young, might take it
from somebody who has just put the same, and has yet to say so in the database."""

_TRUSTED: Final = 10.0
"""Seconds for which a check that went well is not made again."""


class S3Store:
    """Objects `<prefix>/<first two digits>/<sha256>`, as `LocalStore` has files.

    An object is visible once it is whole. Each is compared with its digest before `put` returns: with
    the SHA-256 that the server has of it, or read back where the server has none.
    """

    def __init__(self, calls: Calls, *, part_bytes: int = PART, link_seconds: int = 0) -> None:
        """Set up a store.

        Args:
            calls: Those of the bucket.
            part_bytes: Of an upload. S3 takes none of less than 5 MiB, but for the last.
            link_seconds: How long an address is good for that `link` gives; 0: it gives none.
        """
        self._calls = calls
        self._prefix = f"{calls.place.prefix.strip('/')}/".lstrip("/")
        self._part_bytes = part_bytes
        self._link_seconds = link_seconds
        self._conditional = True
        self._checked_at = -_TRUSTED

    def put(self, path: Path) -> StoredBlob:
        """Copy a file in.

        Raises:
            StoreUnavailableError: S3 does not take it, or something else arrives there, though it was sent
                again and again. Nothing is left behind that could be read.
            OSError: The file cannot be read, or changes meanwhile.
        """
        with path.open("rb") as source:
            return self.put_file(source)

    def put_bytes(self, data: bytes) -> StoredBlob:
        """Store bytes; see `put`."""
        return self._store(io.BytesIO(data), StoredBlob(hashlib.sha256(data).hexdigest(), len(data)))

    def put_file(self, file: BinaryIO) -> StoredBlob:
        """Store an open file; see `put`."""
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it asks for readinto alone
        return self._store(file, StoredBlob(digest, file.tell()))

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            FileNotFoundError: There is no such blob.
            CorruptBlobError: From the read that reaches the end, if the content is not what it was.
        """
        return io.BufferedReader(Verified(Reader(self._calls, self._key(sha256)), sha256), CHUNK)

    def open_at(self, sha256: str, start: int) -> BinaryIO:
        """Open a blob for reading from byte `start` on.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        return io.BufferedReader(Reader(self._calls, self._key(sha256), start), CHUNK)

    def exists(self, sha256: str) -> bool:
        return self._head(self._key(sha256)) is not None

    def age(self, sha256: str) -> float | None:
        head = self._head(self._key(sha256))
        return None if head is None else _age(head, head["LastModified"])

    def verify(self, sha256: str) -> None:
        """Read a blob to the end; see `open` for what may be wrong."""
        read_to_the_end(self.open(sha256))

    def delete(self, sha256: str) -> None:
        with suppress(FileNotFoundError):
            self._calls.ask("delete_object", Key=self._key(sha256))

    def blobs(self) -> Iterator[Kept]:
        asked: dict[str, Any] = {"Prefix": self._prefix}
        while True:
            page = self._calls.ask("list_objects_v2", **asked)
            for found in page.get("Contents", ()):
                name = found["Key"].rpartition("/")[2]
                if not is_digest(name) or found["Key"] != self._key(name):
                    name = f"s3://{self._calls.place.bucket}/{found['Key']}"
                yield Kept(name, found["Size"], _age(page, found["LastModified"]))
            after = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or after in {None, asked.get("ContinuationToken")}:
                return
            asked["ContinuationToken"] = after

    def begun(self) -> Iterator[Kept]:
        for key, upload, age in self._uploads():
            yield Kept(f"{key} (upload {upload})", 0, age)

    def forget_begun(self, *, older_than: timedelta) -> int:
        old = [(key, upload) for key, upload, age in self._uploads() if age > older_than.total_seconds()]
        for key, upload in old:
            with suppress(FileNotFoundError):
                self._calls.ask("abort_multipart_upload", Key=key, UploadId=upload)
        return len(old)

    def link(self, sha256: str, *, disposition: str, media_type: str) -> str | None:
        """Return an address from which the blob can be fetched for a while; None if that is switched off."""
        if not self._link_seconds:
            return None
        return self._calls.sign(
            "get_object",
            seconds=self._link_seconds,
            Key=self._key(sha256),
            ResponseContentDisposition=disposition,
            ResponseContentType=media_type,
        )

    def check(self) -> None:
        """Look into the bucket, once and without patience.

        Raises:
            StoreMisconfiguredError: There is no such bucket, or the credentials are no good.
            StoreUnavailableError: S3 does not answer.
        """
        if time.monotonic() - self._checked_at < _TRUSTED:
            return
        self._calls.ask("list_objects_v2", retries=0, Prefix=self._prefix, MaxKeys=1)
        self._checked_at = time.monotonic()

    def close(self) -> None:
        self._calls.close()

    def _store(self, source: BinaryIO, blob: StoredBlob) -> StoredBlob:
        """Send until what is there is what was sent."""
        key, failed = self._key(blob.sha256), 0
        while True:
            head, sent = self._head(key), None
            if not (
                head and _age(head, head["LastModified"]) < _RENEWED_AFTER and self._is_whole(head, blob)
            ):
                source.seek(0)
                sent = self._send(source, blob, key, new=head is None)
                head = self._head(key)
                if head is None or not self._is_whole(head, blob, sent):
                    if failed < self._calls.retries:
                        log.warning("s3.sent_again", key=key, failed=failed + 1)
                        self._calls.pause(failed)
                        failed += 1
                        continue
                    self.delete(blob.sha256)
                    raise StoreUnavailableError(f"what arrives in {self._calls.place} is not what is sent")
            return blob

    def _send(self, source: BinaryIO, blob: StoredBlob, key: str, *, new: bool) -> str | None:
        """Send all of it. Returns the checksum that the server should have, if it is not that of the whole.

        If it is `new`, that is a condition: nothing is written over what somebody else put meanwhile.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if new and self._conditional else {}
        try:
            if blob.bytes > self._part_bytes:
                return self._send_parts(source, blob, key, condition)
            data = source.read(blob.bytes + 1)
            _check_unchanged(hashlib.sha256(data).hexdigest(), blob)
            checksum = _base64(hashlib.sha256(data))
            self._calls.ask("put_object", Key=key, Body=data, ChecksumSHA256=checksum, **condition)
        except (AlreadyThereError, GarbledError):
            pass  # it is looked at next
        except UnsupportedError:
            if not condition:
                raise
            self._conditional = False
        return None

    def _send_parts(self, source: BinaryIO, blob: StoredBlob, key: str, condition: dict[str, Any]) -> str:
        begun = self._calls.ask("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")
        upload: Any = {"Key": key, "UploadId": begun["UploadId"]}
        try:
            parts, checksum = self._parts(source, blob, upload)
            self._calls.ask(
                "complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload, **condition
            )
        except FileNotFoundError as error:
            # Ended already: by a call whose answer was lost, which will be seen, or by somebody else.
            log.warning("s3.upload_gone", key=key, error=str(error))
            return ""
        except BaseException:
            with suppress(FileNotFoundError, StoreUnavailableError):  # else the sweeper does it
                self._calls.ask("abort_multipart_upload", retries=_ABORT_RETRIES, **upload)
            raise
        return checksum

    def _parts(self, source: BinaryIO, blob: StoredBlob, upload: Any) -> tuple[list[dict[str, Any]], str]:
        """Send the parts. Returns them, and the checksum that the server makes of theirs."""
        size = max(self._part_bytes, -(-blob.bytes // _MOST_PARTS))
        whole, of_parts = hashlib.sha256(), hashlib.sha256()
        parts: list[dict[str, Any]] = []
        while data := source.read(size):
            whole.update(data)
            digest = hashlib.sha256(data)
            of_parts.update(digest.digest())
            part: dict[str, Any] = {"PartNumber": len(parts) + 1, "ChecksumSHA256": _base64(digest)}
            sent = self._calls.ask("upload_part", Body=data, **part, **upload)
            parts.append({**part, "ETag": sent["ETag"]})
        _check_unchanged(whole.hexdigest(), blob)
        return parts, f"{_base64(of_parts)}-{len(parts)}"

    def _is_whole(self, head: dict[str, Any], blob: StoredBlob, sent: str | None = None) -> bool:
        if head["ContentLength"] != blob.bytes:
            return False
        known = head.get("ChecksumSHA256")
        if known is not None and known in {base64.b64encode(bytes.fromhex(blob.sha256)).decode(), sent}:
            return True
        try:
            self.verify(blob.sha256)
        except (CorruptBlobError, FileNotFoundError):
            return False
        return True

    def _uploads(self) -> Iterator[tuple[str, str, float]]:
        """Yield key, id and age of uploads that were not ended. A server may know none such."""
        asked: dict[str, Any] = {"Prefix": self._prefix}
        while True:
            try:
                page = self._calls.ask("list_multipart_uploads", **asked)
            except UnsupportedError:
                return
            for found in page.get("Uploads", ()):
                yield found["Key"], found["UploadId"], _age(page, found["Initiated"])
            after = {
                "KeyMarker": page.get("NextKeyMarker") or "",
                "UploadIdMarker": page.get("NextUploadIdMarker") or "",
            }
            if not page.get("IsTruncated") or after.items() <= asked.items():
                return
            asked |= after

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._calls.ask("head_object", Key=key, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{checked(sha256)[:2]}/{sha256}"


def _age(answer: dict[str, Any], since: datetime) -> float:
    """Return the seconds that have passed by the server's own clock, or by ours if it tells no time."""
    try:
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        now = datetime.now(UTC)
    return (now.replace(tzinfo=now.tzinfo or UTC) - since).total_seconds()


def _base64(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()


def _check_unchanged(sha256: str, blob: StoredBlob) -> None:
    if sha256 != blob.sha256:
        raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: the file changed while it was read")
