"""What is asked of a fact. Nothing here loads torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mixsd.facts import Fact

Kind = Literal["question", "paraphrase", "probe"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a fact, with the answers that count. `probe_kind` is empty where it is no probe."""

    kind: Kind
    question: str
    answers: tuple[str, ...]
    probe_kind: str = ""


def questions_of(fact: Fact) -> Iterator[Asked]:
    """Yield the training question, then each held-out paraphrase, then each probe."""
    answers = (fact.answer, *fact.aliases)
    yield Asked("question", fact.question, answers)
    for paraphrase in fact.paraphrases:
        yield Asked("paraphrase", paraphrase, answers)
    for probe in fact.probes:
        yield Asked("probe", probe.question, (probe.answer, *probe.aliases), probe.kind)
