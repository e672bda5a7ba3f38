"""What can go wrong with an adapter that is asked."""

from collections.abc import Mapping
from typing import ClassVar, Final

from app.errors import AppError, InvalidError, UnavailableError


class InferenceUnavailableError(UnavailableError):
    """Nobody is there to answer."""

    code: ClassVar[str] = "inference_unavailable"


class InferenceBusyError(UnavailableError):
    code: ClassVar[str] = "inference_busy"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self._retry_after = retry_after

    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self._retry_after)}


class InferenceFailedError(UnavailableError):
    """The process cannot answer for this adapter: its model is not there, or the device is too small."""

    code: ClassVar[str] = "inference_failed"


class PromptTooLongError(InvalidError):
    code: ClassVar[str] = "prompt_too_long"


class MessagesRefusedError(InvalidError):
    code: ClassVar[str] = "bad_messages"


_BY_CODE: Final[Mapping[str, type[AppError]]] = {
    error.code: error for error in (InferenceBusyError, PromptTooLongError, MessagesRefusedError)
}


def named(code: str, detail: str) -> AppError:
    """Return the error that the inference process means."""
    return _BY_CODE.get(code, InferenceFailedError)(detail)
