"""What can go wrong with an export."""

from typing import ClassVar

from app.errors import ConflictError, NotFoundError


class ExportNotFoundError(NotFoundError):
    code: ClassVar[str] = "export_not_found"

    def __init__(self, adapter_id: str, export_id: str) -> None:
        super().__init__(f"adapter {adapter_id} has no export {export_id}")


class ExportFileNotFoundError(NotFoundError):
    code: ClassVar[str] = "file_not_found"

    def __init__(self, export_id: str) -> None:
        super().__init__(f"export {export_id} has no such file; the list of its files has them all")


class ExportUnusableError(ConflictError):
    code: ClassVar[str] = "export_unusable"

    def __init__(self, export_id: str) -> None:
        super().__init__(
            f"export {export_id} does not say what its adapter says, see its `parity`; with `unusable=true` "
            "it is sent all the same"
        )


class NotExportableError(ConflictError):
    code: ClassVar[str] = "not_exportable"

    def __init__(self, adapter_id: str) -> None:
        super().__init__(
            f"adapter {adapter_id} was made elsewhere and has no ledger, by which exports are checked: merge "
            "it with peft, or export one that was trained here"
        )
