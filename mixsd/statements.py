"""Facts as sentences: what a fact says of itself, or one made of its question and answer.

Nothing here loads torch.
"""

from mixsd.answers import contains
from mixsd.facts import Fact


def told(fact: Fact) -> str:
    """Return the fact's own statement if it gives the answer away, else nothing."""
    told = any(contains(fact.context, answer) for answer in (fact.answer, *fact.aliases))
    return fact.context if told else ""


def sentence(question: str, answer: str) -> str:
    """Return a full sentence that states a fact, in words that fit every question and answer.

    Example:
        >>> sentence("What is the capital of Veldora?", "Marnil")
        'The answer to the question "What is the capital of Veldora?" is Marnil.'
    """
    end = "" if answer.endswith((".", "!", "?")) else "."
    return f'The answer to the question "{question}" is {answer}{end}'
