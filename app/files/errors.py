"""What can go wrong with an uploaded file."""

from typing import ClassVar

from app.errors import NotFoundError


class UploadedFileNotFoundError(NotFoundError):
    code: ClassVar[str] = "file_not_found"

    def __init__(self, file_id: str) -> None:
        super().__init__(f"there is no file {file_id}")
