"""What can go wrong with projects and keys. Who is turned away and why: `app.access`."""

from typing import ClassVar

from app.errors import ConflictError, InputProblem, InvalidError, NotFoundError, listed


class ProjectNotFoundError(NotFoundError):
    code: ClassVar[str] = "project_not_found"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"there is no project {project_id}")


class ProjectNameTakenError(ConflictError):
    code: ClassVar[str] = "project_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a project called `{name}` already: choose another name")


class ProjectInUseError(ConflictError):
    code: ClassVar[str] = "project_in_use"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"project {project_id} has jobs that have not ended: cancel them, or wait")


class DefaultProjectError(ConflictError):
    code: ClassVar[str] = "default_project"

    def __init__(self) -> None:
        super().__init__("the default project cannot be deleted: whoever looks after projects belongs to it")


class ApiKeyNotFoundError(NotFoundError):
    code: ClassVar[str] = "api_key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id}")


class ExpiryInThePastError(InvalidError):
    code: ClassVar[str] = "expiry_in_the_past"

    def __init__(self) -> None:
        self._problem = InputProblem(
            self.code,
            "a key cannot expire in the past: leave `expires_at` out, or revoke it",
            pointer="/expires_at",
        )
        super().__init__(f"/expires_at: {self._problem.detail}")

    def members(self) -> dict[str, object]:
        return dict(listed([self._problem]))
