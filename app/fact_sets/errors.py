"""What can go wrong with a fact set."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from app.errors import (
    ConflictError,
    InputProblem,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnsupportedMediaError,
    listed,
)


class FactSetNotFoundError(NotFoundError):
    code: ClassVar[str] = "fact_set_not_found"

    def __init__(self, fact_set_id: str) -> None:
        super().__init__(f"there is no fact set {fact_set_id}")


class FactSetInUseError(ConflictError):
    code: ClassVar[str] = "fact_set_in_use"

    def __init__(self, fact_set_id: str, job_id: str) -> None:
        super().__init__(
            f"job {job_id} still works with fact set {fact_set_id}: cancel it or wait for its end"
        )


class TooManyFactsError(TooLargeError):
    code: ClassVar[str] = "too_many_facts"

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are more facts than the {limit} that a fact set may have")


class FileTooLargeError(TooLargeError):
    """Files of this format must be smaller."""

    code: ClassVar[str] = "file_too_large"


class UnsupportedFormatError(UnsupportedMediaError):
    code: ClassVar[str] = "unsupported_media_type"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(
            f"send facts as one of {', '.join(allowed)}, in UTF-8 and without Content-Encoding; or as a file "
            "in multipart/form-data, by such a type or by the end of its name"
        )


class FormatNotInstalledError(UnsupportedMediaError):
    """The operator of the service can change that."""

    code: ClassVar[str] = "format_not_installed"


class MalformedJsonError(MalformedError):
    """The body is no JSON that we take. The first problem says why."""

    code: ClassVar[str] = "malformed_json"

    def __init__(self, problems: Sequence[InputProblem], total: int) -> None:
        super().__init__(problems[0].detail)
        self._problems, self._total = problems, total

    def members(self) -> Mapping[str, object]:
        return listed(self._problems, self._total)


class InvalidFactsError(InvalidError):
    """There is something wrong with facts. Says all of it."""

    code: ClassVar[str] = "invalid_facts"

    def __init__(self, problems: Sequence[InputProblem], total: int) -> None:
        first = problems[0]
        place = first.pointer or (f"line {first.line}" if first.line else "facts")
        more = f", and {total - 1} more" if total > 1 else ""
        super().__init__(f"{place}: {first.detail}{more}")
        self._problems, self._total = problems, total

    def members(self) -> Mapping[str, object]:
        return listed(self._problems, self._total)
