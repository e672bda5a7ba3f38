"""What there is to say about a file of facts, for the API and the command line alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, BinaryIO

from mixsd.facts import Problem
from mixsd.intake.formats import Format
from mixsd.intake.lint.linter import Linter
from mixsd.intake.reading import Reading


@dataclass(frozen=True, slots=True)
class Report:
    """Nothing was stored to make it.

    Attributes:
        is_valid: The file would be taken as it is.
        n_facts: Good facts.
        bytes: Of their canonical form.
        sha256: Of it; None without a good fact, or where the file is broken.
        errors: What is wrong, at most 1,000; there are `total_errors`.
        warnings: What is suspicious about the good facts; there are as many as `counts` says for each code.
    """

    is_valid: bool
    name: str | None
    format: Format
    n_facts: int
    bytes: int
    sha256: str | None
    errors: Sequence[Problem]
    total_errors: int
    warnings: Sequence[Problem]
    counts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as `POST /fact-sets/validate` gives it."""
        return {
            "valid": self.is_valid,
            "format": self.format.value,
            "name": self.name,
            "n_facts": self.n_facts,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "errors": [asdict(problem) for problem in self.errors],
            "total_errors": self.total_errors,
            "warnings": [asdict(warning) for warning in self.warnings],
            "total_warnings": sum(self.counts.values()),
            "warning_counts": self.counts,
        }


def check(file: BinaryIO, kind: Format, *, today: date, max_facts: int | None = None) -> Report:
    """Validate and lint a file.

    Raises:
        TooManyError: It has more than `max_facts`.
        NoParquetError: The file is Parquet, which this installation does not read.
    """
    reading = Reading(file, kind, max_facts=max_facts)
    linter = Linter(today, is_table=kind in {Format.CSV, Format.TSV})
    for good in reading.good():
        linter.look(good.fact, good.record)
    linter.finish()
    findings, digest = reading.findings, reading.digest
    return Report(
        is_valid=not findings.total_problems,
        name=reading.name,
        format=kind,
        n_facts=digest.n_facts,
        bytes=digest.bytes,
        sha256=digest.sha256 if digest.n_facts and not reading.broken else None,
        errors=findings.problems,
        total_errors=findings.total_problems,
        warnings=linter.warnings,
        counts=dict(sorted(linter.counts.items())),
    )
