"""What can go wrong with a base model."""

from collections.abc import Mapping
from typing import ClassVar

from app.errors import InputProblem, InvalidError, NotFoundError, listed


class ModelNotFoundError(NotFoundError):
    code: ClassVar[str] = "model_not_found"


class ModelNotAllowedError(InvalidError):
    """The model or revision that a request names may not be used."""

    code: ClassVar[str] = "model_not_allowed"

    def __init__(self, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self._problem = InputProblem(self.code, detail, pointer=pointer)

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])
