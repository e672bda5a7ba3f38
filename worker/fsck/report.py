"""What a check of the service found."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: which, how, and what to do about it."""

    object: str
    what: str
    do: str


@dataclass(slots=True)
class Check:
    """One promise, the number of things that were looked at for it, and those that break it."""

    name: str
    checked: int = 0
    problems: list[Problem] = field(default_factory=list)

    def found(self, object: str, what: str, do: str) -> None:  # noqa: A002  the name in the output
        self.problems.append(Problem(object, what, do))


@dataclass(frozen=True, slots=True)
class Report:
    checks: list[Check]

    @property
    def ok(self) -> bool:
        return not any(check.problems for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}
