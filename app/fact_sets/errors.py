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

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"there are {count} facts; a fact set has at most {limit}")


class UnsupportedFormatError(UnsupportedMediaError):
    code: ClassVar[str] = "unsupported_media_type"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"send facts as one of {', '.join(allowed)}, and without Content-Encoding")


class MalformedJsonError(MalformedError):
    """The body is no JSON that we take."""

    code: ClassVar[str] = "malformed_json"

    def __init__(self, problem: InputProblem) -> None:
        super().__init__(problem.detail)
        self._problem = problem

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


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
