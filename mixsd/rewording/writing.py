"""Facts to facts with more wordings to train on.

What a fact gets is a function of the base model, the fact and the settings, less what evaluation
asks of other facts: a run that was stopped makes the same wordings anew.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from mixsd.answers import contains
from mixsd.decoding.rng import Draw
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES, hint_of
from mixsd.rewording.author import Author, ModelAuthor
from mixsd.rewording.checks import Rules, line_of, names_of, taken_by
from mixsd.rewording.subjects import prompts_about, subject_of
from mixsd.rewording.templates import wordings_of

ATTEMPTS: Final = 4
"""Texts of one fact that are written side by side."""
_GENERATION: Final = -1
"""Names the draws: targets are counted from 0."""

_EXAMPLES: Final = (
    ("Who carved the wooden door of the chapel?", "Which person is the chapel's wooden door the work of?"),
    ("In which year did the ferry sink?", "The ferry went down in which year?"),
    ("What is the ring made of?", "Which material was used for the ring?"),
    ("How many steps does the tower have?", "What is the number of steps in the tower?"),
)
_SHOWN: Final = "\n\n".join(f"Question: {asked}\nIn other words: {again}" for asked, again in _EXAMPLES)
PROMPTS: Final = (
    "Rewrite this question in other words: {}",
    "Each question is asked again in other words.\n\n" + _SHOWN + "\n\nQuestion: {}\nIn other words:",
    "How else could one ask this? Keep every name, and answer with one question only.\n\n{}",
)


class Wish(Protocol):
    """The settings of a method that say which rewordings are wanted. See `mixsd.config`."""

    @property
    def rewordings(self) -> int: ...
    @property
    def rewordings_source(self) -> str: ...
    @property
    def rewordings_check(self) -> bool: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reworded:
    """Facts with their rewordings behind their own `train_paraphrases`, and how that went.

    `report` is empty where none were wanted.
    """

    facts: Sequence[Fact]
    report: Mapping[str, Any] = field(default_factory=dict)


def reworded(
    base: Base,
    facts: Sequence[Fact],
    wish: Wish,
    *,
    beside: Sequence[Fact] = (),
    on_progress: OnProgress = silent,
) -> Reworded:
    """Give each fact so many rewordings, or as many as were found.

    Args:
        base: The frozen model.
        facts: All facts that are taught together: what is asked of one of them is not trained on
            for another.
        wish: What is wanted.
        beside: Facts that are asked at evaluation as well, and not taught.
        on_progress: Called before every forward pass. May raise to stop.
    """
    if not wish.rewordings:
        return Reworded(facts)
    total = wish.rewordings * len(facts)
    run: Rewording

    def tell() -> None:
        on_progress(Progress(run.made, total, "rewordings"))

    run = Rewording(facts, wish, ModelAuthor(base, tell), beside=beside)
    return run.result()


@dataclass(slots=True)
class _Open:
    """A fact and the wordings that were found for it."""

    fact: Fact
    rules: Rules
    found: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> tuple[str, ...]:
        return (*self.fact.train_paraphrases, *self.found)


class Rewording:
    """One run over some facts. Apart from its author it knows no model."""

    def __init__(
        self, facts: Sequence[Fact], wish: Wish, author: Author, *, beside: Sequence[Fact] = ()
    ) -> None:
        taken = taken_by([*facts, *beside])
        self._wish = wish
        self._author = author
        self._every = [_Open(fact, Rules(fact, taken, names_of(fact, author.is_rare))) for fact in facts]
        self._refused: Counter[str] = Counter()
        self._attempts = 0

    @property
    def made(self) -> int:
        return sum(len(each.found) for each in self._every)

    def result(self) -> Reworded:
        """Find the wordings."""
        wish = self._wish
        if wish.rewordings_source in {"model", "both"}:
            for number in range(wish.rewordings + 1):
                self._round(number)
        by_model = self.made
        if wish.rewordings_source == "subject":
            about = Counter(subject_of(each.fact, each.rules.names).casefold() for each in self._every)
            for each in self._every:
                is_shared = about[subject_of(each.fact, each.rules.names).casefold()] > 1
                self._fill(each, prompts_about(each.fact, each.rules, seed=wish.seed, shared=is_shared))
        if wish.rewordings_source != "model":
            for each in self._every:
                self._fill(each, wordings_of(each.fact, each.rules, seed=wish.seed))
        facts = [replace(each.fact, train_paraphrases=each.accepted) for each in self._every]
        return Reworded(facts, self._report(by_model))

    def _fill(self, each: _Open, texts: Iterable[str]) -> None:
        """Give a fact that lacks wordings those that need no model."""
        for text in texts:
            if len(each.found) == self._wish.rewordings:
                return
            if text not in each.found:
                each.found.append(text)

    def _report(self, by_model: int) -> dict[str, Any]:
        return {
            "wanted": self._wish.rewordings * len(self._every),
            "by_model": by_model,
            "by_templates": self.made - by_model,
            "attempts": self._attempts,
            "refused": dict(sorted(self._refused.items())),
        }

    def _round(self, number: int) -> None:
        """Have some more texts written for each fact that lacks a wording, and judge them in order."""
        lacking = [each for each in self._every if len(each.found) < self._wish.rewordings]
        attempts = range(number * ATTEMPTS, (number + 1) * ATTEMPTS)
        asked = [(each, attempt) for each in lacking for attempt in attempts]
        texts = self._author.write([self._request(each.fact, attempt) for each, attempt in asked])
        self._attempts += len(asked)
        written = [(each, line_of(text)) for (each, _), text in zip(asked, texts, strict=True)]
        for (each, text), answered in zip(written, self._answered(written), strict=True):
            if len(each.found) == self._wish.rewordings:
                continue
            reason = each.rules.refusal(text, each.accepted) or (None if answered else "not_answered")
            if reason is None:
                each.found.append(text)
            else:
                self._refused[reason] += 1

    def _request(self, fact: Fact, attempt: int) -> tuple[Draw, str, str]:
        prompt = PROMPTS[attempt % len(PROMPTS)].replace("{}", fact.question)
        return Draw(self._wish.seed, fact.key, _GENERATION, attempt), prompt, fact.question

    def _answered(self, written: Sequence[tuple[_Open, str]]) -> Iterator[bool]:
        """Say of each text whether the model, shown the fact, answers it with the answer.

        Only texts that keep to the rules are asked; of the others nobody wants to know.
        """
        fit = [each.rules.refusal(text, each.accepted) is None for each, text in written]
        if not self._wish.rewordings_check:
            return iter(fit)
        style = STYLES["natural"]
        asked = [pair for pair, is_fit in zip(written, fit, strict=True) if is_fit]
        prompts = [
            style.expert_prompt(text, each.fact.answer, hint_of(each.fact, style)) for each, text in asked
        ]
        said = self._author.answer(
            [(prompt, each.fact.answer) for prompt, (each, _) in zip(prompts, asked, strict=True)]
        )
        right = iter([_states(each.fact, answer) for (each, _), answer in zip(asked, said, strict=True)])
        return (is_fit and next(right) for is_fit in fit)


def _states(fact: Fact, text: str) -> bool:
    return any(contains(text, answer) for answer in (fact.answer, *fact.aliases))
