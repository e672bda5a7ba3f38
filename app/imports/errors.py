"""What can go wrong with an adapter that is brought from elsewhere."""

from collections.abc import Sequence
from typing import ClassVar

from app.errors import ConflictError, InvalidError, MalformedError, TooLargeError, UnsupportedMediaError


class UnknownArchiveError(UnsupportedMediaError):
    code: ClassVar[str] = "unsupported_media_type"

    def __init__(self, sent: str, taken: Sequence[str]) -> None:
        super().__init__(f"{sent or 'no type'} is no archive that is read here: send {' or '.join(taken)}")


class MalformedArchiveError(MalformedError):
    """The archive cannot be read, or ends in the middle."""

    code: ClassVar[str] = "malformed_archive"


class ArchiveTooLargeError(TooLargeError):
    code: ClassVar[str] = "archive_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"what the archive holds has more than {most} bytes (MIXSD_MAX_UPLOAD_BYTES)")


class UnsafeArchiveError(InvalidError):
    """There is something in the archive that is never read."""

    code: ClassVar[str] = "unsafe_archive"


class UnsafeWeightsError(InvalidError):
    """The weights are in a form that can run code, or are no sound safetensors file."""

    code: ClassVar[str] = "unsafe_weights"


class BadAdapterError(InvalidError):
    """It is no plain LoRA, not whole, or none of the base model that was named."""

    code: ClassVar[str] = "bad_adapter"


class ModelNotOnDiskError(ConflictError):
    """Without its files nobody can say whether an adapter fits a model."""

    code: ClassVar[str] = "model_not_on_disk"

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"{model_id} is not among the models on this machine, so no adapter can be compared with it: "
            "`mixsd models pull` brings it, or a job that uses it"
        )
