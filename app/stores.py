"""Which artifact store the settings mean. boto3 is loaded only for one in S3."""

from importlib import import_module
from typing import Any

from app.settings import Settings
from app.storage import ArtifactStore, LocalStore, StoreMisconfiguredError


class StoreExtraMissingError(StoreMisconfiguredError):
    """Adapters are to lie in S3, and what speaks to it is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "MIXSD_ARTIFACTS names S3, but boto3 is not installed: install it with "
            "`pip install 'mixsd[s3]'`, or leave the setting empty"
        )


def store_for(settings: Settings) -> ArtifactStore:
    """Return the store. Nothing is asked of it yet.

    Raises:
        StoreExtraMissingError: The extra `s3` is missing.
        StoreMisconfiguredError: The address of the server is none.
    """
    if not settings.artifacts:
        return LocalStore(settings.artifact_dir)
    try:
        calls: Any = import_module("app.s3.calls")
        store: Any = import_module("app.s3.store")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise StoreExtraMissingError from error
    bucket, _, prefix = settings.artifacts.removeprefix("s3://").partition("/")
    place = calls.Place(
        bucket=bucket,
        prefix=prefix,
        endpoint=settings.s3_endpoint,
        public=settings.s3_public_endpoint,
        region=settings.s3_region,
    )
    seconds = int(settings.s3_link.total_seconds()) if settings.s3_redirect else 0
    opened: ArtifactStore = store.S3Store(calls.Calls(place), link_seconds=seconds)
    return opened
