"""What can go wrong with an adapter."""

from typing import ClassVar

from app.errors import ConflictError, NotFoundError


class AdapterNotFoundError(NotFoundError):
    code: ClassVar[str] = "adapter_not_found"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(f"there is no adapter {adapter_id}")


class AdapterFileNotFoundError(NotFoundError):
    code: ClassVar[str] = "file_not_found"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(f"adapter {adapter_id} has no such file; /adapters/{adapter_id}/files lists them")


class AdapterQuarantinedError(ConflictError):
    code: ClassVar[str] = "adapter_quarantined"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(
            f"adapter {adapter_id} failed its job's gate: its files are held back until "
            f"POST /adapters/{adapter_id}/release"
        )


class AdapterNotQuarantinedError(ConflictError):
    code: ClassVar[str] = "adapter_not_quarantined"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(f"adapter {adapter_id} is not held back: there is nothing to release")
