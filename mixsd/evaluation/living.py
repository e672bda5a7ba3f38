"""What became of changed facts: learned, kept, lost, and what is still known of those that are retired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixsd.config import EvalConfig
from mixsd.facts import Fact
from mixsd.living import Answers, Change, Living
from mixsd.scoring import scorer

MOST_NAMED: Final = 100
"""Facts that a summary names; the ledger in the package has them all."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a run that started from an adapter.

    Attributes:
        summary: Counts, and the first of the facts that one should look at.
        rows: By key, what a verdict says beside the rest.
        retired: A row for each fact that the set has no longer.
    """

    summary: Row
    rows: Mapping[str, Row]
    retired: tuple[Row, ...]


def tell(
    living: Living,
    facts: Sequence[Fact],
    base: Answers,
    parent: Answers,
    adapter: Answers,
    config: EvalConfig,
) -> Told:
    """Compare what base model, parent and adapter said to `living.asked(facts)`."""
    right, changes = scorer(config.verifier), living.changes

    def answers(said: str | None, fact: Fact) -> bool | None:
        return None if said is None else right(said, (fact.answer, *fact.aliases))

    rows: dict[str, Row] = {}
    for fact, before, after in zip(facts, parent, adapter, strict=False):
        row: Row = {
            "change": str(changes.kinds[fact.key]),
            "parent_answer": before[0],
            "parent_correct": answers(before[0], fact),
            "adapter_correct": answers(after[0], fact),
        }
        if (was := changes.before.get(fact.key)) is not None:
            row["previous_answer"] = was.answer
            # Where the new answer holds the old one, none that is right could be without it.
            there = None if right(fact.answer, (was.answer, *was.aliases)) else answers(after[0], was)
            row["previous_gone"] = None if there is None else not there
        rows[fact.key] = row
    n = len(facts)
    retired = tuple(
        {
            "key": fact.key,
            "question": fact.question,
            "answer": fact.answer,
            "trained_back": not changes.is_asked(fact.question),
            "base_answer": said[0],
            "base_correct": answers(said[0], fact),
            "parent_answer": before[0],
            "parent_correct": answers(before[0], fact),
            "adapter_answer": after[0],
            "adapter_correct": answers(after[0], fact),
        }
        for fact, said, before, after in zip(changes.retired, base[n:], parent[n:], adapter[n:], strict=True)
    )
    summary = {"weights_sha256": living.sha256, **_counts(list(rows.items()), retired)}
    for row in rows.values():
        del row["adapter_correct"]  # the verdict says it already
    return Told(summary, rows, retired)


def _counts(rows: Sequence[tuple[str, Row]], retired: Sequence[Row]) -> Row:
    by_kind = {kind: [(key, row) for key, row in rows if row["change"] == kind] for kind in Change}
    changed = [row for _, row in by_kind[Change.CHANGED]]
    kept = [(key, row) for key, row in by_kind[Change.KEPT] if row["parent_correct"]]
    lost = [key for key, row in kept if not row["adapter_correct"]]
    still = [row for row in retired if row["trained_back"] and row["adapter_correct"]]
    return {
        "added": _learned([row for _, row in by_kind[Change.ADDED]]),
        "changed": {
            **_learned(changed),
            "previous_gone": sum(row["previous_gone"] is True for row in changed),
            "previous_there": sum(row["previous_gone"] is False for row in changed),
        },
        "kept": {
            "facts": len(by_kind[Change.KEPT]),
            "known_before": len(kept),
            "known": sum(row["adapter_correct"] is True for _, row in by_kind[Change.KEPT]),
            "regressed": len(lost),
        },
        "retired": {
            "facts": len(retired),
            "trained_back": sum(row["trained_back"] for row in retired),
            "known_before": sum(row["parent_correct"] is True for row in retired),
            "still_known": sum(not row["base_correct"] for row in still),
            "known_to_base": sum(row["base_correct"] is True for row in retired),
        },
        "regressed_keys": lost[:MOST_NAMED],
        "retired_facts": list(retired[:MOST_NAMED]),
    }


def _learned(rows: Sequence[Row]) -> Row:
    return {"facts": len(rows), "learned": sum(row["adapter_correct"] is True for row in rows)}
