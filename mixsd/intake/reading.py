"""Files of facts, read from front to back. What is called valid here is taken everywhere."""

import io
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from mixsd.errors import MixsdError
from mixsd.facts import NO_FACT, Digest, Fact, Findings, Parsed, Problem
from mixsd.intake.checking import Checker
from mixsd.intake.envelope import Envelope
from mixsd.intake.formats import SUFFIXES, Format, records
from mixsd.intake.records import BrokenFileError, Record, Records


class TooManyError(MixsdError):
    """There are more facts than a set may have."""

    code: ClassVar[str] = "too_many_facts"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"there are more facts than the {self.limit} that a fact set may have"


class Good(NamedTuple):
    """A good fact, what it was made from, and its line of the canonical form."""

    fact: Fact
    record: Record
    line: bytes


class Reading:
    """One file. To be gone through once; after that the rest is known.

    Attributes:
        findings: What is wrong, in the order in which it was found.
        broken: The problem behind which nothing was read, or None. It is among the findings.
        digest: Of the good facts.
    """

    def __init__(
        self,
        file: BinaryIO,
        kind: Format,
        *,
        max_facts: int | None = None,
        records_of: Callable[[BinaryIO], Records] | None = None,
    ) -> None:
        """Set up to read a file; `records_of` reads one whose records are no facts but become some."""
        self.findings = Findings()
        self.broken: Problem | None = None
        self.digest = Digest()
        self._envelope = Envelope()
        self._max_facts = max_facts
        self._records: Callable[[], Records] = lambda: (
            records_of(file) if records_of is not None else records(file, kind, self._envelope)
        )

    @property
    def name(self) -> str | None:
        """What the document calls the set, if it does."""
        return self._envelope.name

    @property
    def is_envelope_wrong(self) -> bool:
        """Whether something is wrong beside the facts, so that leaving facts out does not help."""
        return self._envelope.is_wrong

    def __iter__(self) -> Iterator[Fact]:
        """Yield the good facts.

        Raises:
            TooManyError: There are more than `max_facts`, good and bad.
            NoParquetError: The file is Parquet, which this installation does not read.
        """
        return (good.fact for good in self.good())

    def good(self) -> Generator[Good]:
        """Yield the good facts, each with what it was made from. Raises as iteration does."""
        checker = Checker(self.findings)
        count = 0
        try:
            for record in self._records():
                if isinstance(record, Problem):
                    self.findings.report(record)
                    continue
                count += 1
                if self._max_facts is not None and count > self._max_facts:
                    raise TooManyError(self._max_facts)
                if (fact := checker.check(record)) is not None:
                    yield Good(fact, record, self.digest.add(fact))
        except BrokenFileError as error:
            self.broken = error.problem
            self.findings.report(error.problem)
        finally:
            checker.close()
        if not self.digest.n_facts and not self.findings.total_problems:
            self.findings.report(NO_FACT)


def read_facts(path: Path) -> list[Fact]:
    """Read a file of facts, whose format is told by its suffix; JSONL if that says nothing.

    Raises:
        FactsError: Something is wrong with the facts; all of it is listed.
        NoParquetError: The file is Parquet, which this installation does not read.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return _parsed(file, SUFFIXES.get(path.suffix.lower(), Format.JSONL)).or_raise()


def parse_jsonl(data: bytes) -> Parsed:
    """Read one fact a line. Only newlines part lines, blank ones are skipped."""
    return _parsed(io.BytesIO(data), Format.JSONL)


def parse_json(data: bytes) -> Parsed:
    """Read a JSON document: a list of facts, or an object whose `facts` is one."""
    return _parsed(io.BytesIO(data), Format.JSON)


def parse_objects(values: Iterable[Any], *, prefix: str = "") -> Parsed:
    """Check facts that came as part of a document; `prefix` is the pointer to their list."""
    parsed = Parsed()
    checker = Checker(parsed)
    for place, value in enumerate(values):
        fact = checker.check(Record(value, pointer=f"{prefix}/{place}"))
        if fact is not None:
            parsed.facts.append(fact)
    checker.close()
    return parsed


def _parsed(file: BinaryIO, kind: Format) -> Parsed:
    reading = Reading(file, kind)
    facts = list(reading)
    return Parsed(reading.findings.problems, reading.findings.total_problems, facts)
