"""What can go wrong here and nowhere else."""

from collections.abc import Mapping
from typing import ClassVar

from app.errors import (
    ForbiddenError,
    InputProblem,
    InvalidError,
    MalformedError,
    NotFoundError,
    UnavailableError,
    listed,
)


class UnknownModelError(NotFoundError):
    """A model that is not here, or not for what is asked of it."""

    code: ClassVar[str] = "model_not_found"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self._problem = InputProblem(self.code, detail, pointer="/model")

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


class ModelUnavailableError(UnavailableError):
    code: ClassVar[str] = "model_unavailable"

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"{model_id} is not on disk yet: run a job with it, or have the operator run "
            f"`mixsd models pull {model_id}`"
        )


class BaseModelStaysError(ForbiddenError):
    code: ClassVar[str] = "base_model_stays"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"{model_id} is a base model, which is not for clients to delete: adapters are")


class TrainingFileNotFoundError(NotFoundError):
    code: ClassVar[str] = "file_not_found"

    def __init__(self, file_id: str) -> None:
        super().__init__(file_id)
        self._problem = InputProblem(
            self.code,
            f"there is no file {file_id}: name one of GET /openai/v1/files, or a fact set",
            pointer="/training_file",
        )

    def __str__(self) -> str:
        return self._problem.detail

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


class RefusedPartError(InvalidError):
    """Something is wrong with the form of an upload beside its file."""

    code: ClassVar[str] = "unsupported_parameter"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self._problem = InputProblem(self.code, detail, pointer=f"/{name}")

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


class UnknownQueryError(InvalidError):
    code: ClassVar[str] = "unsupported_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"the parameter {name[:60]!r} of the query has no counterpart here: leave it out")


class BadAfterError(MalformedError):
    code: ClassVar[str] = "bad_cursor"

    def __init__(self) -> None:
        super().__init__("`after` must be the id of the last object of a page of this list")
