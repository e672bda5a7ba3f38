"""Calls of S3: made again where that helps, and explained where it does not."""

import errno
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from app.storage import StoreMisconfiguredError, StoreUnavailableError

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRIES: Final = 5
"""How often a call is made again."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_CONNECTIONS: Final = 32

_NO_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_AGAIN: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})
_AGAIN_STATUS: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_OTHER_REGION: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_GARBLED: Final = frozenset(
    {"BadDigest", "IncompleteBody", "InvalidPart", "InvalidPartOrder"}
    | {"XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
_DENIED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is. `public` is the address by which clients reach `endpoint`, if it is another."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    public: str = ""
    region: str = ""

    def __str__(self) -> str:
        return f"bucket {self.bucket!r}" + (f" at {self.endpoint}" if self.endpoint else "")


class AlreadyThereError(Exception):
    """There is an object of that key, and the call was for the case that there is none."""


class BeyondTheEndError(Exception):
    """The object has no bytes where some were asked for."""


class GarbledError(StoreUnavailableError):
    """What arrived is not what was sent, as the server itself has noticed."""


class UnsupportedError(StoreUnavailableError):
    """The server does not know the call, or what was asked with it."""


_EXPECTED: Final[Mapping[int, Callable[[str], Exception]]] = {
    404: partial(FileNotFoundError, errno.ENOENT),
    412: AlreadyThereError,
    416: BeyondTheEndError,
    501: UnsupportedError,
}
"""What some answers mean, by their status."""


def full_jitter(failed: int) -> None:
    """Wait for a moment by chance, which may be longer the more calls have failed before."""
    longest = min(_FIRST_PAUSE * 2**failed, _LONGEST_PAUSE)
    time.sleep(random.uniform(0, longest))  # noqa: S311  not a secret


class Calls:
    """The calls of one bucket. Safe to use from several threads."""

    def __init__(
        self,
        place: Place,
        *,
        retries: int = RETRIES,
        pause: Callable[[int], None] = full_jitter,
        connect: float = 3.0,
        silence: float = 20.0,
    ) -> None:
        """Prepare calls; none is made yet.

        Args:
            place: The bucket.
            retries: How often a call is made again that failed.
            pause: Waits before it is, told how many have failed before.
            connect: Seconds after which a connection is given up.
            silence: Seconds without a sign of the server after which a call is.

        Raises:
            StoreMisconfiguredError: The address of the server is none.
        """
        self.place = place
        self.retries = retries
        self.pause = pause
        self._times = {"connect_timeout": connect, "read_timeout": silence}
        self._client = self._client_of(place.endpoint)
        self._public = self._client_of(place.public) if place.public else self._client

    def ask(self, operation: str, /, *, retries: int | None = None, **parameters: Any) -> dict[str, Any]:
        """Make a call.

        Raises:
            FileNotFoundError: There is no such object.
            AlreadyThereError: The call has the condition that there is none, and there is.
            BeyondTheEndError: It is shorter than the range that was asked for.
            StoreMisconfiguredError: The bucket, the credentials or what they may do is wrong.
            StoreUnavailableError: S3 does not answer, or not as it should, though asked again.
        """
        call = getattr(self._client, operation)

        def make() -> dict[str, Any]:
            answer: dict[str, Any] = call(Bucket=self.place.bucket, **parameters)
            return answer

        return self._patiently(operation, make, self.retries if retries is None else retries)

    def sign(self, operation: str, *, seconds: int, **parameters: Any) -> str:
        """Return an address that makes a call for whoever has it. Raises as `ask` does."""
        asked = {"Bucket": self.place.bucket, **parameters}

        def make() -> str:
            signed: str = self._public.generate_presigned_url(operation, Params=asked, ExpiresIn=seconds)
            return signed

        return self._patiently(operation, make, 0)

    def close(self) -> None:
        """Let connections go."""
        self._client.close()
        self._public.close()

    def _patiently(self, operation: str, make: Callable[[], T], retries: int) -> T:
        failed = 0
        while True:
            try:
                return make()
            except ParamValidationError:
                raise
            except (ClientError, BotoCoreError) as error:
                if failed >= retries or not _may_pass(error):
                    raise explained(error, operation, self.place) from error
                log.warning("s3.asked_again", operation=operation, error=_name_of(error), failed=failed + 1)
            self.pause(failed)
            failed += 1

    def _client_of(self, endpoint: str) -> Any:
        config = Config(
            signature_version="s3v4",
            retries={"total_max_attempts": 1},  # ours are the same for every way to fail
            max_pool_connections=_CONNECTIONS,
            # Checksums are ours as well: older servers do not know those that boto3 adds by itself.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
            **self._times,
        )
        try:
            return boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint or None,
                region_name=self.place.region or None,
                config=config,
            )
        except (ValueError, BotoCoreError) as error:
            raise StoreMisconfiguredError(
                f"S3 cannot be used as it is set up: {error}. See MIXSD_S3_ENDPOINT and MIXSD_S3_REGION"
            ) from error


def explained(error: ClientError | BotoCoreError, operation: str, place: Place) -> Exception:
    """Return what to raise instead: what is wrong, where, and what to do."""
    if isinstance(error, ClientError):
        return _explained_answer(error, operation, place)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreMisconfiguredError(
            "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever "
            f"else boto3 takes them from ({_name_of(error)})"
        )
    return StoreUnavailableError(f"S3 does not answer to {operation} for {place}: {_name_of(error)}")


def _explained_answer(error: ClientError, operation: str, place: Place) -> Exception:
    code, status = _code_of(error), _status_of(error)
    if code == "NoSuchBucket":
        return StoreMisconfiguredError(
            f"there is no {place}: make it, or correct MIXSD_ARTIFACTS or MIXSD_S3_ENDPOINT"
        )
    if status in _EXPECTED:
        return _EXPECTED[status](f"{operation} in {place}: {status} {code}")
    if code in _GARBLED:
        return GarbledError(f"S3 got something else than was sent with {operation} to {place} ({code})")
    if code in _OTHER_REGION:
        return StoreMisconfiguredError(f"the {place} lies in another region: set MIXSD_S3_REGION")
    if status in _DENIED:
        return StoreMisconfiguredError(
            f"S3 refuses {operation} in {place} ({code}): see that the credentials are right, that they may "
            "do what docs/s3.md lists, and the clock of this machine"
        )
    return StoreUnavailableError(f"S3 answers {status} {code} to {operation} for {place}")


def _may_pass(error: ClientError | BotoCoreError) -> bool:
    """Say whether the same call may succeed a moment later."""
    if isinstance(error, ClientError):
        return _status_of(error) in _AGAIN_STATUS or _code_of(error) in _AGAIN
    return not isinstance(error, _NO_CREDENTIALS)


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _name_of(error: Exception) -> str:
    return _code_of(error) if isinstance(error, ClientError) else type(error).__name__
