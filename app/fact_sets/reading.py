"""From bytes to facts. What is right is decided by `mixsd.facts`, for API, command and worker alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.errors import InputProblem
from app.fact_sets.errors import (
    InvalidFactsError,
    MalformedJsonError,
    TooManyFactsError,
    UnsupportedFormatError,
)
from mixsd import facts as library
from mixsd import strict_json
from mixsd.facts import Fact, Parsed

JSON: Final = "application/json"
JSONL: Final = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
MAX_NAME: Final = 200
_MAX_POINTER: Final = 200


class OnError(StrEnum):
    """What becomes of an upload in which some facts are bad."""

    REJECT = "reject"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Upload:
    """The facts to store, and what was wrong with those that were left out."""

    facts: Sequence[Fact]
    name: str | None = None
    rejected: Sequence[InputProblem] = field(default_factory=tuple)
    total_rejected: int = 0


def decode(data: bytes) -> Any:
    """Parse JSON strictly.

    Raises:
        MalformedJsonError: The bytes are no JSON, or none that every database can hold.
    """
    try:
        return strict_json.decode(data)
    except strict_json.JsonProblem as error:
        raise MalformedJsonError(InputProblem(error.code, error.detail, error.line, error.column)) from None


def read_upload(data: bytes, *, media_type: str, on_error: OnError, max_facts: int) -> Upload:
    """Read an uploaded fact set: a JSON document `{"name", "facts"}`, or one fact a line.

    Raises:
        UnsupportedFormatError: The media type is neither that of JSON nor of JSONL.
        MalformedJsonError: The document is no JSON.
        InvalidFactsError: Something is wrong with the document or, unless they are to be skipped,
            with facts; or there is not one good fact.
        TooManyFactsError: There are more than `max_facts`.
    """
    if media_type in JSONL:
        return _accept(library.parse_jsonl(data), None, on_error, max_facts)
    if media_type != JSON:
        raise UnsupportedFormatError((JSON, *JSONL))
    name, values = _document(decode(data))
    return _accept(library.parse_objects(values, prefix="/facts"), name, on_error, max_facts)


def read_inline(values: Sequence[Any], *, max_facts: int) -> Upload:
    """Read facts that came as `/facts` of another document. Raises as `read_upload` does."""
    return _accept(library.parse_objects(values, prefix="/facts"), None, OnError.REJECT, max_facts)


def _accept(parsed: Parsed, name: str | None, on_error: OnError, max_facts: int) -> Upload:
    if len(parsed.facts) > max_facts:
        raise TooManyFactsError(len(parsed.facts), max_facts)
    problems = [_shown(problem) for problem in parsed.problems]
    if on_error is OnError.SKIP and parsed.facts:
        return Upload(parsed.facts, name, problems, parsed.total_problems)
    try:
        return Upload(parsed.or_raise(), name)
    except library.FactsError as error:
        raise InvalidFactsError([_shown(problem) for problem in error.problems], error.total) from None


def _shown(problem: library.Problem) -> InputProblem:
    return InputProblem(
        problem.code,
        problem.detail,
        problem.line,
        problem.column,
        problem.pointer and problem.pointer[:_MAX_POINTER],
        problem.fact_key,
    )


def _document(value: Any) -> tuple[str | None, list[Any]]:
    """Take name and facts out of a document."""
    if not isinstance(value, dict):
        raise InvalidFactsError([InputProblem("wrong_type", "expected an object", pointer="")], 1)
    unknown = [name for name in value if name not in {"name", "facts"}]
    found = [
        InputProblem("unknown_field", "there is no such field", pointer=f"/{name}"[:_MAX_POINTER])
        for name in unknown[: library.MAX_PROBLEMS]
    ]
    name, facts = value.get("name"), value.get("facts")
    if not (name is None or isinstance(name, str)):
        found.append(InputProblem("wrong_type", "expected a text", pointer="/name"))
    elif name is not None and not 0 < len(name) <= MAX_NAME:
        found.append(InputProblem("too_long", f"a name has 1 to {MAX_NAME} characters", pointer="/name"))
    if "facts" not in value:
        found.append(InputProblem("missing_field", "`facts` is missing", pointer="/facts"))
    elif not isinstance(facts, list):
        found.append(InputProblem("wrong_type", "expected a list of facts", pointer="/facts"))
    if found:
        not_shown = max(0, len(unknown) - library.MAX_PROBLEMS)
        raise InvalidFactsError(found, len(found) + not_shown)
    return name, list(facts or [])
