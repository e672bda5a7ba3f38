"""The facts of a study."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.paper.study import CorpusPlan, StudyError
from mixsd.corpora.kgfact import kgfact, size_of
from mixsd.corpora.public import public
from mixsd.durable import write_whole
from mixsd.facts import Fact
from mixsd.intake.reading import parse_jsonl


def facts_of(plan: CorpusPlan, data: Path | None) -> list[Fact]:
    """Return what is taught, the same for the same plan and data.

    Args:
        plan: Which facts.
        data: Folder with a data set in each folder; SimpleQA comes from the Hub if it is not there.

    Raises:
        MixsdError: The data or the other wordings cannot be read, or are too few.
    """
    if plan.name == "kgfact":
        made = list(kgfact(*size_of(plan.size)).facts)
    else:
        made = list(public("simpleqa", _source(data)).facts)
    there = len(made)
    if plan.paraphrases is not None:
        made = reworded(made, plan.paraphrases)
    if len(made) < plan.facts:
        which = "" if plan.paraphrases is None else f" with other wordings in {plan.paraphrases.name}"
        raise StudyError(
            f"corpora.{plan.name}.facts: of {there} there are {len(made)}{which}, and {plan.facts} are wanted"
        )
    return made[: plan.facts] if plan.paraphrases else spread(made, plan)


def spread(facts: Sequence[Fact], plan: CorpusPlan) -> list[Fact]:
    """Take so many facts at equal distances, so that all kinds of them are there."""
    wanted = min(plan.facts, len(facts))
    return [facts[place * len(facts) // wanted] for place in range(wanted)]


def digest_of(question: str) -> str:
    """Return what a file of other wordings calls a question by."""
    return hashlib.sha256(question.encode()).hexdigest()[:16]


def reworded(facts: Sequence[Fact], path: Path) -> list[Fact]:
    """Return those facts that a file has other wordings of, with these, in the order of the file.

    Its rows name a question by `digest_of`, so that wordings never go to another one.

    Raises:
        StudyError: It cannot be read.
    """
    by_digest = {digest_of(fact.question): fact for fact in facts}
    found: list[Fact] = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            texts = row["paraphrases"]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise StudyError(f"{path}, line {number}: `paraphrases`: expected a list of questions")
            if fact := by_digest.get(row["question"]):
                found.append(replace(fact, paraphrases=tuple(texts)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} cannot be read as other wordings: {error}") from error
    return found


def write_facts(facts: Sequence[Fact], path: Path) -> None:
    """Write facts as JSONL, as `mixsd inject` takes them.

    Raises:
        FactsError: A fact is not one that the project takes.
        DiskFullError: There was no room.
    """
    lines = "".join(json.dumps(fact.to_json(), ensure_ascii=False) + "\n" for fact in facts).encode()
    parse_jsonl(lines).or_raise()
    write_whole(path, lines)


def _source(data: Path | None) -> str:
    """Return the file of SimpleQA."""
    place = None if data is None else data / "simpleqa"
    if place is None or not place.is_dir():
        return "hub"
    files = sorted(place.glob("*.jsonl"))
    if len(files) != 1:
        raise StudyError(f"{place}: expected one .jsonl file, found {len(files)}")
    return str(files[0])
