"""Errors as the clients of OpenAI's API read them, on the paths where those ask: `app.openai`."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from app.errors import InputProblem
from app.web.paths import path_of
from app.web.titles import title_of

PREFIX: Final = "/openai/v1"

_MOST: Final = 10
"""Mistakes that a message tells of."""
_TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_SOMETHING: Final = "invalid_request"
"""Something is wrong with a request; of these errors the first mistake says what."""
_OF_QUOTA: Final = "insufficient_quota"
_INDEX: Final = re.compile(r"\.(\d+)(?=\.|$)")


class OpenAIError(BaseModel):
    """What is wrong. Test `code`, which is that of our own problems; show `message`."""

    message: str
    type: str
    param: Annotated[str | None, Field(description="The first field that is wrong: `messages[0].content`.")]
    code: str


class OpenAIErrorBody(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "there is no model gpt-7 here: GET /openai/v1/models lists them",
                        "type": "invalid_request_error",
                        "param": "model",
                        "code": "model_not_found",
                    }
                }
            ]
        }
    )

    error: OpenAIError


def is_asked(scope: Scope) -> bool:
    """Say whether a request is for a path of that API."""
    path = path_of(scope)
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def body_of(status: int, code: str, detail: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an error that problems would tell with these members."""
    found: Sequence[InputProblem] = members.get("errors", ())
    total = int(members.get("total_errors", len(found)))
    pointer = next((each.pointer for each in found if each.pointer), None)
    error = OpenAIError(
        message=_message(found, total) if found else detail,
        type=_OF_QUOTA if "quota" in members else type_of(status),
        param=param_of(pointer) if pointer else None,
        code=found[0].code if found and code == _SOMETHING else code,
    )
    return OpenAIErrorBody(error=error).model_dump(mode="json")


def type_of(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def param_of(pointer: str) -> str:
    """Return a JSON pointer as that API names a field.

    Example:
        >>> param_of("/messages/0/content")
        'messages[0].content'
    """
    name = pointer.lstrip("/").replace("/", ".").replace("~1", "/").replace("~0", "~")
    return _INDEX.sub(r"[\1]", name)


def _message(found: Sequence[InputProblem], total: int) -> str:
    parts = [f"{place}: {each.detail}" if (place := _place(each)) else each.detail for each in found[:_MOST]]
    more = f"; and {total - len(parts)} more" if total > len(parts) else ""
    return "; ".join(parts) + more


def _place(problem: InputProblem) -> str:
    line = f"line {problem.line}" if problem.line else ""
    return ", ".join(part for part in (line, param_of(problem.pointer or "")) if part)


def openai_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document a route's error answers, as `app.web.problems.problems` does for other routes."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{OpenAIErrorBody.__name__}"}}}
    return {status: {"description": title_of(status), "content": content} for status in statuses}
