"""What became of facts since the parent, as both forms of a report tell it."""

from typing import Final

from app.adapters.schemas import LivingSummary
from app.reports.summary import judged

HEADER: Final = ("since the parent", "facts", "the parent knew", "known now", "lost")
RETIRED_HEADER: Final = ("retired", "question", "answer it had", "base answers", "adapter answers")

_NONE: Final = "\u2013"
_NAMED: Final = 20


def rows(found: LivingSummary) -> list[tuple[str, ...]]:
    """Return a row for each kind of change."""
    kept, retired = found.kept, found.retired
    return [
        ("added", str(found.added.facts), _NONE, str(found.added.learned), _NONE),
        ("changed", str(found.changed.facts), _NONE, str(found.changed.learned), _NONE),
        ("kept", str(kept.facts), str(kept.known_before), str(kept.known), str(kept.regressed)),
        ("retired", str(retired.facts), str(retired.known_before), str(retired.still_known), _NONE),
    ]


def sentences(found: LivingSummary) -> list[str]:
    """Say what one should know beside the figures."""
    said = []
    if found.changed.facts:
        said.append(
            f"Of {found.changed.facts} changed facts the old answer is gone for "
            f"{found.changed.previous_gone} and still given for {found.changed.previous_there}."
        )
    if found.retired.facts:
        asked = found.retired.facts - found.retired.trained_back
        said.append(
            f"Of {found.retired.facts} retired facts {found.retired.trained_back} were trained back, and "
            f"{found.retired.still_known} of these are still known; the base model answers "
            f"{found.retired.known_to_base} by itself"
            + (f", and the question of {asked} is asked by a fact of the new set." if asked else ".")
        )
    if found.regressed_keys:
        shown = ", ".join(found.regressed_keys[:_NAMED])
        more = found.kept.regressed - len(found.regressed_keys[:_NAMED])
        said.append(f"Lost: {shown}" + (f" and {more} more." if more else "."))
    return said


def retired(found: LivingSummary) -> list[tuple[str, ...]]:
    """Return a row for each retired fact that the report has."""
    return [
        (
            fact.key,
            fact.question,
            fact.answer,
            judged(fact.base_answer, correct=fact.base_correct),
            judged(fact.adapter_answer, correct=fact.adapter_correct),
        )
        for fact in found.retired_facts
    ]
