"""The prompts that the base model answers beside the facts. Nothing here loads torch."""

import hashlib
from functools import cache
from typing import Final

from mixsd.evaluation.suites import OpenPrompt, Suite, read_suite

PROMPTS: Final = "replay_prompts.jsonl"
QUESTIONS: Final = "replay_questions.jsonl"


@cache
def replay_prompts(about: str) -> Suite[OpenPrompt]:
    """Return the prompts that replay is made of: `open` ones, `questions`, or `both` in turn."""
    if about == "both":
        either = [replay_prompts(name) for name in ("open", "questions")]
        items = tuple(item for pair in zip(*(suite.items for suite in either), strict=True) for item in pair)
        digest = hashlib.sha256("".join(suite.sha256 for suite in either).encode()).hexdigest()
        return Suite("replay_both", digest, items)
    name = PROMPTS if about == "open" else QUESTIONS
    return read_suite("mixsd.objectives", name, lambda row: OpenPrompt(**row))
