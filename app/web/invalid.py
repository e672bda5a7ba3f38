"""What Pydantic finds wrong, in our words: stable codes, JSON pointers, nothing that was sent."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi.exceptions import RequestValidationError

from app.errors import InputProblem

_CODES: Final = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "union_tag_not_found": "missing_field",
    "union_tag_invalid": "unknown_value",
    "literal_error": "unknown_value",
    "enum": "unknown_value",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "int_parsing_size": "out_of_range",
    "finite_number": "out_of_range",
    "int_parsing": "wrong_type",
    "model_attributes_type": "wrong_type",
    "int_from_float": "wrong_type",
    "string_too_short": "too_short",
    "too_short": "too_short",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "string_pattern_mismatch": "bad_format",
    "string_unicode": "invalid_unicode",
    "timezone_aware": "bad_format",
    "datetime_parsing": "bad_format",
    "datetime_from_date_parsing": "bad_format",
    "datetime_object_invalid": "bad_format",
}
_MAX_STEP: Final = 64


def problems_of(error: RequestValidationError) -> list[InputProblem]:
    """Return everything that is wrong with a request."""
    return [_problem(found, error.body) for found in error.errors()]


def _problem(found: dict[str, Any], body: Any) -> InputProblem:
    kind, path = found["type"], found["loc"]
    wrong_type = "wrong_type" if kind.endswith("_type") else kind
    code = _CODES.get(kind, wrong_type)
    if path[0] != "body":
        return InputProblem(code, f"{path[0]} parameter `{path[-1]}`: {_said(found)}")
    pointer = _pointer(path[1:], body, missing=kind == "missing")
    if kind == "union_tag_invalid":  # the error stands at the union, the mistake in its tag
        pointer += f"/{found['ctx']['discriminator'].strip(chr(39))}"
    return InputProblem(code, _said(found), pointer=pointer)


def _said(found: dict[str, Any]) -> str:
    match found["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "the field is missing"
        case "union_tag_invalid":
            return f"expected one of {found['ctx']['expected_tags']}"
        case _:
            return str(found["msg"])


def _pointer(path: Sequence[str | int], body: Any, *, missing: bool) -> str:
    """Return the JSON pointer of an error in the body.

    Pydantic's path also names the members of unions it tried. Those are no keys of the body, and
    are left out; only a field that is `missing` stands at the end of its path.
    """
    steps: list[str] = []
    here = body
    for depth, step in enumerate(path, start=1):
        if isinstance(here, dict) and (step in here or (missing and depth == len(path))):
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            here = here[step]
        else:
            continue
        steps.append("/" + str(step)[:_MAX_STEP].replace("~", "~0").replace("/", "~1"))
    return "".join(steps)
