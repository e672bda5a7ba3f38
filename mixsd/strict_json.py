"""JSON as we take it: UTF-8 only, no duplicate keys, no NaN, no lone surrogate, no NUL, not deep."""

import json
from typing import Any, Final

MAX_DEPTH: Final = 32
TOO_DEEP: Final = f"at most {MAX_DEPTH} levels are allowed"


class JsonProblem(ValueError):  # noqa: N818  it is a problem before it is an error
    """Why bytes are no JSON that we take. Lines and columns count from 1."""

    def __init__(self, code: str, detail: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.line, self.column = code, detail, line, column


def decode(data: bytes) -> Any:
    """Parse JSON strictly: UTF-8 only, no duplicate keys, no NaN, no lone surrogate, no NUL.

    Raises:
        JsonProblem: The bytes are no such JSON.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise JsonProblem("invalid_utf8", "the bytes are not UTF-8", line, column) from None
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonProblem("malformed_json", error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise JsonProblem("json_too_deep", TOO_DEEP) from None
    except JsonProblem:
        raise
    except ValueError:  # an integer with thousands of digits
        raise JsonProblem("number_too_long", "a number has too many digits") from None
    if may_hold_more(text, 0, len(text)):
        inspect(value)
    return value


def may_hold_more(text: str, start: int, end: int) -> bool:
    """Say whether JSON in a part of a text may be what `inspect` refuses. Soon answered, mostly by no."""
    depth = text.count("{", start, end) + text.count("[", start, end)
    return depth > MAX_DEPTH or text.find("\\u", start, end) >= 0


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; a hook of the decoder.

    Raises:
        JsonProblem: A key is there twice.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise JsonProblem("duplicate_key", f"the key {shown(name)} is there twice")
            seen.add(name)
    return value


def no_constant(name: str) -> Any:
    """Refuse NaN and Infinity; a hook of the decoder.

    Raises:
        JsonProblem: Always.
    """
    raise JsonProblem("non_finite_number", f"{name} is not a number that JSON knows")


def finite(text: str) -> float:
    """Return a number; a hook of the decoder.

    Raises:
        JsonProblem: It is too large.
    """
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise JsonProblem("non_finite_number", "a number is too large")
    return number


def inspect(value: Any, depth: int = MAX_DEPTH) -> None:
    """Refuse plain data that is too deep, or has a text that no database can hold.

    Raises:
        JsonProblem: It is such data.
    """
    if depth < 0:
        raise JsonProblem("json_too_deep", TOO_DEEP)
    if isinstance(value, str):
        if "\x00" in value:
            raise JsonProblem("nul_character", "a text holds the character NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise JsonProblem("invalid_unicode", "a text holds half a surrogate pair") from None
    elif isinstance(value, dict):
        for name, item in value.items():
            inspect(name, depth - 1)
            inspect(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            inspect(item, depth - 1)


def shown(text: str) -> str:
    """Quote a user's text for a message: short, printable, valid Unicode."""
    return repr(text[:60].encode(errors="replace").decode())


DECODER: Final = json.JSONDecoder(object_pairs_hook=unique, parse_constant=no_constant, parse_float=finite)
"""Refuses what can be refused while reading; `inspect` does the rest."""
