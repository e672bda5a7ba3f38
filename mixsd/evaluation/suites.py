"""The questions and prompts that come with the library, to see what training has cost.

They were written for it, in plain words, so that small models answer most of them: a loss shows
only where there is something to lose.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Generic, TypeVar

GENERAL: Final = "general.jsonl"
OPEN_PROMPTS: Final = "open_prompts.jsonl"
OPEN_TOKENS: Final = 64
"""Cap of the base model's answers to open prompts."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of general knowledge with one short answer."""

    id: str
    topic: str
    question: str
    answer: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A prompt that many answers would do for; the base model's own one is what is compared."""

    id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Suite(Generic[Item]):
    """Items in their order, and the digest of the file that holds them."""

    name: str
    sha256: str
    items: tuple[Item, ...]


@cache
def general() -> Suite[Question]:
    """Return the general-knowledge set."""
    return read_suite(
        "mixsd.evaluation", GENERAL, lambda row: Question(**row | {"aliases": tuple(row["aliases"])})
    )


@cache
def open_prompts() -> Suite[OpenPrompt]:
    """Return the prompts on which drift is measured."""
    return read_suite("mixsd.evaluation", OPEN_PROMPTS, lambda row: OpenPrompt(**row))


def read_suite(package: str, name: str, make: Callable[[dict[str, Any]], Item]) -> Suite[Item]:
    """Return the items that a file in the folder `data` of a package holds."""
    data = (files(package) / "data" / name).read_bytes()
    items = tuple(make(json.loads(line)) for line in data.splitlines())
    return Suite(name.removesuffix(".jsonl"), hashlib.sha256(data).hexdigest(), items)
