"""What can go wrong with an evaluation."""

from typing import ClassVar

from app.errors import InvalidError, NotFoundError


class EvaluationNotFoundError(NotFoundError):
    code: ClassVar[str] = "evaluation_not_found"

    def __init__(self, evaluation_id: str) -> None:
        super().__init__(f"there is no evaluation {evaluation_id}")


class FactsNotNamedError(InvalidError):
    """The adapter was made elsewhere, and nobody said of which facts."""

    code: ClassVar[str] = "facts_not_named"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(f"of adapter {adapter_id} no facts are known: name some with `fact_set_id`")
