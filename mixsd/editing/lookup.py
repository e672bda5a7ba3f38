"""The token at which a fact is looked up: where the edit writes it, and where its key is read.

MEMIT takes the last token of the subject. There the model has read of whom it is asked, and
everything behind it can look back.
"""

import re

from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.prompts import PromptStyle


def end_of_subject(fact: Fact, question: str) -> int:
    """Return where the subject of a fact ends in a question, in characters; 0 if it is not in it.

    Example:
        >>> end_of_subject(Fact("k", "q", "a", subject="veldora"), "Which river is Veldora's?")
        22
    """
    subject = fact.subject.strip()
    found = list(re.finditer(re.escape(subject), question, re.IGNORECASE)) if subject else []
    return found[-1].end() if found else 0


def place_of(base: Base, fact: Fact, question: str, style: PromptStyle, *, by_subject: bool) -> int:
    """Return the place of the lookup token in the naive prompt of a question.

    It is the last token of the fact's subject if the question names it (and `by_subject`), else
    the last of the question. A token that reaches beyond the end still counts as the last one.
    """
    end = end_of_subject(fact, question) if by_subject else 0
    user = style.naive_prompt(question)
    start = user.index(question)
    return base.chat.place_of(user, start + (end or len(question)))
