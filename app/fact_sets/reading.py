"""From files to facts. What is right is decided by `mixsd.intake`, for API, command and worker alike."""

import io
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, BinaryIO, Final, NoReturn

from app.errors import InputProblem
from app.fact_sets.errors import (
    FileTooLargeError,
    FormatNotInstalledError,
    InvalidFactsError,
    MalformedJsonError,
    TooManyFactsError,
    UnsupportedFormatError,
)
from app.fact_sets.keeping import Kept
from mixsd import facts as library
from mixsd import strict_json
from mixsd.intake import conversations, envelope, formats, parquet, reading, report
from mixsd.intake.formats import Format

MAX_NAME: Final = envelope.MAX_NAME
MEDIA_TYPES: Final = tuple(formats.MEDIA_TYPES)


class OnError(StrEnum):
    """What becomes of an upload in which some facts are bad."""

    REJECT = "reject"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Upload:
    """The facts to store, and what was wrong with those that were left out."""

    facts: Kept
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
        problem = InputProblem(error.code, error.detail, error.line, error.column)
        raise MalformedJsonError([problem], 1) from None


def format_of(media_type: str, file_name: str) -> Format:
    """Return the format of an uploaded file.

    Raises:
        UnsupportedFormatError: It is none that is read.
    """
    kind = formats.format_of(media_type, file_name)
    if kind is None:
        raise UnsupportedFormatError(MEDIA_TYPES)
    return kind


@contextmanager
def read_upload(file: BinaryIO, kind: Format, *, on_error: OnError, max_facts: int) -> Generator[Upload]:
    """Read a file of facts. What is good is kept on disk while the context lasts.

    Raises:
        MalformedJsonError: It should be JSON, and is none.
        InvalidFactsError: Something is wrong with the file or, unless they are to be skipped,
            with facts; or there is not one good fact.
        TooManyFactsError: There are more than `max_facts`.
        FileTooLargeError: A file of this format may not be so long.
        FormatNotInstalledError: This installation does not read the format.
    """
    yield from _read(reading.Reading(file, kind, max_facts=max_facts), kind, on_error)


@contextmanager
def read_conversations(file: BinaryIO, *, max_facts: int) -> Generator[Upload]:
    """Read a file of conversations, of which each becomes a fact. See `read_upload`.

    Raises:
        InvalidFactsError: Something is wrong with a line, or there is not one.
        TooManyFactsError: There are more than `max_facts`.
    """
    read = reading.Reading(file, Format.JSONL, max_facts=max_facts, records_of=conversations.records)
    yield from _read(read, Format.JSONL, OnError.REJECT)


def _read(read: reading.Reading, kind: Format, on_error: OnError) -> Generator[Upload]:
    with _explained(), tempfile.TemporaryFile() as written:
        kept = Kept(read.digest, written)
        for good in read.good():
            if on_error is OnError.SKIP or not read.findings.total_problems:
                kept.add(good.fact.key, good.line)
        yield _accept(read, kind, kept, on_error)


def read_inline(values: Sequence[Any], *, max_facts: int) -> Upload:
    """Read facts that came as `/facts` of another document.

    Raises:
        InvalidFactsError: Something is wrong with them.
        TooManyFactsError: There are more than `max_facts`.
    """
    if len(values) > max_facts:
        raise TooManyFactsError(max_facts)
    try:
        facts = reading.parse_objects(values, prefix="/facts").or_raise()
    except library.FactsError as error:
        raise InvalidFactsError(shown(error.problems), error.total) from None
    kept = Kept(library.Digest(), io.BytesIO())
    for fact in facts:
        kept.add(fact.key, kept.digest.add(fact))
    return Upload(kept)


def check_upload(file: BinaryIO, kind: Format, *, today: date, max_facts: int) -> report.Report:
    """Say all there is to say about a file of facts. Raises what does not concern its content, as above."""
    with _explained():
        return report.check(file, kind, today=today, max_facts=max_facts)


def shown(problems: Sequence[library.Problem]) -> list[InputProblem]:
    return [
        InputProblem(found.code, found.detail, found.line, found.column, found.pointer, found.fact_key)
        for found in problems
    ]


def _accept(read: reading.Reading, kind: Format, kept: Kept, on_error: OnError) -> Upload:
    problems, total = shown(read.findings.problems), read.findings.total_problems
    if read.broken is not None:
        _refuse(read.broken, kind, problems, total)
    is_skipped = on_error is OnError.SKIP and not read.is_envelope_wrong
    if total and not (is_skipped and read.digest.n_facts):
        raise InvalidFactsError(problems, total)
    return Upload(kept, read.name, problems, total)


def _refuse(broken: library.Problem, kind: Format, problems: Sequence[InputProblem], total: int) -> NoReturn:
    if broken.code == "file_too_large":
        raise FileTooLargeError(broken.detail)
    if kind is not Format.JSON:
        raise InvalidFactsError(problems, total)
    first = shown([broken])
    raise MalformedJsonError([*first, *(found for found in problems if found != first[0])], total)


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except reading.TooManyError as error:
        raise TooManyFactsError(error.limit) from None
    except parquet.NoParquetError as error:
        raise FormatNotInstalledError(
            f"this service does not read Parquet. Its operator may: {error}"
        ) from None
