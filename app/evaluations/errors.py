"""What can go wrong with an evaluation."""

from typing import ClassVar

from app.errors import NotFoundError


class EvaluationNotFoundError(NotFoundError):
    code: ClassVar[str] = "evaluation_not_found"

    def __init__(self, evaluation_id: str) -> None:
        super().__init__(f"there is no evaluation {evaluation_id}")
