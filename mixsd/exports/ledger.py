"""What an adapter was found to say, as its package tells it: what an export is held to. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mixsd.errors import ModelError
from mixsd.evaluation.questions import Kind
from mixsd.models.check import read_object
from mixsd.packaging import LEDGER
from mixsd.scoring import scorer

DECISIVE: Final = "question"
"""The kind of question that decides the outcome of a fact."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A question of the ledger, and what the adapter said to it.

    Attributes:
        answers: Those that count, as far as the ledger names them.
        scored_by: The mode of scoring, see `mixsd.scoring`.
    """

    fact_key: str
    kind: Kind
    question: str
    answers: tuple[str, ...]
    said: str
    correct: bool
    scored_by: str

    def judge(self, text: str) -> bool:
        """Say whether an answer is right. The one that the adapter gave stays what it was found to be."""
        return self.correct if text == self.said else scorer(self.scored_by)(text, self.answers)


def read_ledger(package: Path) -> list[Entry]:
    """Return every question that the adapter was asked, in order.

    Raises:
        ModelError: The package has no ledger, or one that cannot be read.
    """
    try:
        return [entry for fact in read_object(package / LEDGER)["results"] for entry in _entries(fact)]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{LEDGER} of the adapter cannot be read: {error!r}") from error


def _entries(fact: Mapping[str, Any]) -> Sequence[Entry]:
    own = (fact["answer"], *fact.get("aliases", ()))
    return [
        Entry(
            fact_key=fact["key"],
            kind=asked["kind"],
            question=asked["question"],
            answers=(asked["expected"],) if asked["kind"] == "probe" else own,
            said=asked["adapter_answer"],
            correct=bool(asked["adapter_correct"]),
            scored_by=fact.get("scored_by", "contains"),
        )
        for asked in fact["asked"]
        if asked.get("adapter_answer") is not None
    ]
