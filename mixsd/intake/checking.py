"""The validator: one fact after another, each by itself and against those before it."""

from collections.abc import Iterable
from dataclasses import replace

from mixsd.facts import Fact, Findings, Problem
from mixsd.intake.records import Record
from mixsd.intake.rules import build, problems_of
from mixsd.intake.seen import Seen

_MAX_POINTER = 200


class Checker:
    """Checks the records of one file and reports what is wrong to `findings`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._seen = Seen()

    def check(self, record: Record) -> Fact | None:
        """Return the fact in a record, or report all that is wrong with it."""
        value = record.value
        if not isinstance(value, dict):
            self._report(record, [("", "wrong_type", "a fact is an object")], None)
            return None
        given_key = value.get("key")
        found = list(problems_of(value))
        if found:
            self._report(record, found, given_key[:64] if isinstance(given_key, str) else None)
            return None
        fact = build(value)
        place = record.pointer or f"line {record.line}"
        clash = self._seen.clash(fact, place)
        if clash:
            self._report(record, [("", *clash)], fact.key)
            return None
        return fact

    def close(self) -> None:
        self._seen.close()

    def _report(self, record: Record, found: Iterable[tuple[str, str, str]], key: str | None) -> None:
        for pointer, code, detail in found:
            self._findings.report(
                located(Problem(code, detail, fact_key=key), record, pointer, self._findings)
            )


def located(problem: Problem, record: Record, pointer: str, findings: Findings) -> Problem:
    """Say where in a record a problem is, unless nobody will read it."""
    if findings.is_full:
        return problem
    line, column = record.place_of(pointer)
    full = f"{record.pointer}{pointer}"[:_MAX_POINTER] or None
    return replace(problem, line=line or record.line, column=column, pointer=full)
