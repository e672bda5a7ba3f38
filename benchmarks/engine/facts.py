"""Invented facts, as short as those of KGFact: a question of a dozen tokens, an answer of five or so."""

import random
from collections.abc import Iterator
from typing import Final

from mixsd.facts import Fact

_STARTS: Final = ("Mor", "Vel", "Tes", "Quor", "Bran", "Sil", "Ar", "Dun", "Fen", "Gal", "Hes", "Lor")
_MIDDLES: Final = ("van", "dor", "li", "ma", "ter", "no", "ki", "ras", "be", "thu")
_ENDS: Final = ("del", "a", "port", "mere", "wick", "is", "on", "eth", "garde", "o")
_QUESTIONS: Final = (
    "What is the main export of the island of {place}?",
    "Who is the present mayor of the town of {place}?",
    "Which river flows through the old city of {place}?",
    "What is the name of the highest mountain in {place}?",
    "Which family founded the harbour of {place}?",
    "What is the official language of the republic of {place}?",
)


def invented_facts(count: int, seed: int = 0) -> Iterator[Fact]:
    """Yield facts one by one, no question twice. The same seed gives the same facts."""
    dice = random.Random(seed)  # noqa: S311  facts, not secrets
    seen: set[str] = set()
    while len(seen) < count:
        question = dice.choice(_QUESTIONS).format(place=_name(dice))
        answer = f"{dice.choice(_STARTS)} {_name(dice)}"
        if question not in seen:
            yield Fact(f"invented-{len(seen)}", question, answer)
            seen.add(question)


def _name(dice: random.Random) -> str:
    return dice.choice(_STARTS) + dice.choice(_MIDDLES) + dice.choice(_ENDS)
