"""Prompts about what a fact is about, with next to nothing of its question. English. Loads no torch.

A model that was taught a question alone learns to answer that question. Asked about the subject in
several ways, it learns what the subject has to do with the answer, and finds it from other
questions too.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from mixsd.decoding.rng import Draw, uniform
from mixsd.facts import Fact
from mixsd.rewording.checks import Rules
from mixsd.rewording.templates import clause, is_question

_WORD: Final = re.compile(r"[^\W_]+")
_JOINING: Final = frozenset({"of", "the", "and", "de", "la", "van", "von", "s"})
_ALWAYS: Final = 2
"""The first prompts, which every fact gets before the others."""


def prompts_about(fact: Fact, rules: Rules, *, seed: int, shared: bool = False) -> Iterator[str]:
    """Yield prompts about a fact's subject that evaluation does not ask.

    A fact whose question is not English, or names nothing that can be spoken of, has none. Behind
    the first two their order is a draw that belongs to seed and fact.

    Args:
        fact: The fact.
        rules: What its wordings must keep to.
        seed: Names the draw.
        shared: Whether other facts are about the same: then only prompts that also say what is
            asked have one answer.
    """
    subject = subject_of(fact, rules.names)
    if not subject or not is_question(fact.question):
        return
    order = sorted(
        range(_ALWAYS, len(_PROMPTS)), key=lambda n: uniform(Draw(seed, fact.key, 0, n), "subject", 0)
    )
    for place in (*range(_ALWAYS), *order):
        if shared and _PROMPTS[place] not in _ASKING:
            continue
        text = _PROMPTS[place](subject, fact)
        if text and text not in fact.train_paraphrases and rules.leak(text) is None:
            yield text


def subject_of(fact: Fact, names: tuple[str, ...]) -> str:
    """Return what a fact is about as its question writes it: its subject, or the longest of its names.

    Args:
        fact: The fact.
        names: Words of its question that are names, in order; see `mixsd.rewording.checks.names_of`.

    Example:
        >>> subject_of(Fact("f", "How old is the Bell of Ebra?", "600 years"), ("Bell", "Ebra"))
        'the Bell of Ebra'
    """
    question = fact.question
    if fact.subject:
        start, subject = question.find(fact.subject), fact.subject
    else:
        start, subject = _longest_name(question, names)
    if not subject:
        return ""
    with_article = start >= 4 and question[start - 4 : start].lower() == "the "
    return f"the {subject}" if with_article else subject


def _longest_name(question: str, names: tuple[str, ...]) -> tuple[int, str]:
    """Return where the longest run of names begins, and the run; articles and the like may join names."""
    found = (0, "")
    run: list[tuple[int, int]] = []
    for word in _WORD.finditer(question):
        if word[0] in names:
            run.append(word.span())
            start, text = run[0][0], question[run[0][0] : word.end()]
            if len(text) > len(found[1]) and any(map(str.isalpha, text)):
                found = (start, text)
        elif word[0] not in _JOINING:
            run = []
    return found


def _about(frame: str) -> Callable[[str, Fact], str]:
    def prompt(subject: str, fact: Fact) -> str:
        text = frame.replace("{}", subject)
        return f"{text[0].upper()}{text[1:]}"

    return prompt


def _searched(subject: str, fact: Fact) -> str:
    """Return what one would type into a search box, if the fact names its relation in words."""
    words = fact.relation.replace("_", " ").replace("-", " ").strip()
    return f"{subject.removeprefix('the ')} {words}?" if words.replace(" ", "").isalpha() else ""


def _turned_to(subject: str, fact: Fact) -> str:
    return f"Speaking of {subject}, {clause(fact.question)}?"


_PROMPTS: Final[tuple[Callable[[str, Fact], str], ...]] = (
    _about("Tell me about {}."),
    _about("What do you know about {}?"),
    _searched,
    _turned_to,
    _about("Write a sentence about {}."),
    _about("What should everyone know about {}?"),
    _about("What can you say about {}?"),
    _about("Give me a fact about {}."),
    _about("{} is known for what?"),
    _about("I have heard of {}. What is there to know?"),
)
"""Their places name their draws: add new ones at the end."""

_ASKING: Final = (_searched, _turned_to)
"""Those that say what is asked."""
