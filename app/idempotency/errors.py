"""What can go wrong with an Idempotency-Key."""

from collections.abc import Mapping
from typing import ClassVar

from app.errors import ConflictError, InvalidError


class KeyReusedError(InvalidError):
    code: ClassVar[str] = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key came before with another path, query or body: "
            "take a new key for every new request"
        )


class InProgressError(ConflictError):
    code: ClassVar[str] = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__("the first request with this Idempotency-Key is still carried out: ask again soon")

    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1"}
