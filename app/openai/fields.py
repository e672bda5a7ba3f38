"""Fields of requests that mean nothing here: they are refused unless they say what happens anyway."""

import json
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

_CODE: Final = "unsupported_parameter"


def only(*allowed: Any) -> BeforeValidator:
    """Return what refuses every value but these, by type and value."""
    shown = " or ".join(json.dumps(each) for each in allowed)

    def check(value: Any) -> Any:
        if any(type(value) is type(each) and value == each for each in allowed):
            return value
        raise PydanticCustomError(
            _CODE,
            "this has no counterpart here: leave it out, or set it to {shown}",
            {"shown": shown},
        )

    return BeforeValidator(check)


def of_numbers(value: int) -> BeforeValidator:
    """Return what refuses every number but one, and takes null."""

    def check(given: Any) -> Any:
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if given is None or (is_number and given == value):
            return None if given is None else value
        raise PydanticCustomError(
            _CODE, "this has no counterpart here: leave it out, or set it to {shown}", {"shown": str(value)}
        )

    return BeforeValidator(check)


def one_or_several(value: Any) -> str:
    """Say whether there is a list or not, so that mistakes are told of that alone."""
    return "several" if isinstance(value, list) else "one"


def word_or_number(value: Any) -> str:
    """Do the same for a number that may be a word."""
    return "word" if isinstance(value, str) else "number"


_NOWHERE: Final = "No counterpart here."

Refused = Annotated[None, only(None), Field(description=_NOWHERE)]
"""Null, if it is there at all."""

EmptyList = Annotated[
    list[JsonValue] | None,
    only(None, []),
    Field(description=_NOWHERE),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {}, "maxItems": 0}, {"type": "null"}]}),
]
EmptyObject = Annotated[
    dict[str, JsonValue] | None,
    only(None, {}),
    Field(description=_NOWHERE),
    WithJsonSchema({"anyOf": [{"type": "object", "maxProperties": 0}, {"type": "null"}]}),
]
