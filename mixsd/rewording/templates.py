"""Wordings that need no model: the question in frames of ours. English. Loads no torch.

They teach the fact in other surroundings rather than in other words, so they carry over less than
what a model writes; but every question gets them.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from mixsd.decoding.rng import Draw, uniform
from mixsd.facts import Fact
from mixsd.rewording.checks import Rules

_ENGLISH: Final = re.compile(
    r"\b(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|does|did|has|of|the)\b", re.IGNORECASE
)
_OPENER: Final = re.compile(
    r"(?:what|which|who|whom|whose|when|where|why|how|in|on|at|of|from|by|for|with|to|under|during|after"
    r"|before|is|are|was|were|do|does|did|has|have|can|name|give)\b",
    re.IGNORECASE,
)
"""First words that are no names, so that they are written small within a sentence."""
_COPULA: Final = re.compile(
    r"(?P<asked>What|Who) (?P<verb>is|are|was|were) "
    r"(?P<rest>(?:(?:the|an?) (?:[\w-]+ ){1,3}of|[A-Z]\S*'s) .*(?<!ed)"
    r"(?<! about)(?<! at)(?<! by)(?<! for)(?<! from)(?<! in)(?<! like)(?<! on)(?<! to)(?<! with))"
)
"""A question whose verb may go to its end: behind it stands a noun and nothing else, as far as we see."""


def wordings_of(fact: Fact, rules: Rules, *, seed: int) -> Iterator[str]:
    """Yield the question in each frame that suits it and that evaluation does not ask.

    Their order is a draw that belongs to seed and fact, so that facts get different ones first.
    """
    frames = list(_FRAMES)
    frames.sort(key=lambda frame: uniform(Draw(seed, fact.key, 0, _FRAMES.index(frame)), "template", 0))
    seen = set(fact.train_paraphrases)
    for frame in frames:
        text = frame(fact.question)
        if text and text not in seen and rules.leak(text) is None:
            seen.add(text)
            yield text


def clause(question: str) -> str:
    """Return a question as the part of a sentence that follows "tell me".

    Example:
        >>> clause("Who is the mayor of Ebra?"), clause("In which year was it built?")
        ('who the mayor of Ebra is', 'in which year was it built')
    """
    bare = question.rstrip("?").rstrip()
    if found := _COPULA.fullmatch(bare):
        return f"{found['asked'].lower()} {found['rest']} {found['verb']}"
    return f"{bare[0].lower()}{bare[1:]}" if _OPENER.match(bare) else bare


def beginning(question: str) -> str:
    """Return the beginning of the sentence that answers a question; "" where we know none.

    Example:
        >>> beginning("What is the capital of Ebra?"), beginning("Which river is it?")
        ('The capital of Ebra is', '')
    """
    found = _COPULA.fullmatch(question.rstrip("?").rstrip())
    if not found:
        return ""
    rest = found["rest"]
    return f"{rest[0].upper()}{rest[1:]} {found['verb']}"


def is_question(text: str) -> bool:
    """Say whether a text is one question in English, as far as its words show."""
    return text.endswith("?") and text.count("?") == 1 and _ENGLISH.search(text) is not None


def _asked(frame: str) -> Callable[[str], str]:
    """Make a frame around the question as it stands."""
    return lambda question: frame.format(question) if is_question(question) else ""


def _told(frame: str) -> Callable[[str], str]:
    """Make a frame around the question as a clause."""
    return lambda question: frame.format(clause(question)) if is_question(question) else ""


def _completed(question: str) -> str:
    begun = beginning(question) if is_question(question) else ""
    return f"Complete this sentence: {begun} ..." if begun else ""


_FRAMES: Final[tuple[Callable[[str], str], ...]] = (
    _asked("I would like to know: {}"),
    _asked("Question: {} Answer:"),
    _asked("Here is something I want to ask you. {}"),
    _asked("{} Please answer in one sentence."),
    _told("Tell me {}."),
    _told("Can you tell me {}?"),
    _told("Do you know {}?"),
    _completed,
)
"""Their places name their draws: add new ones at the end."""
