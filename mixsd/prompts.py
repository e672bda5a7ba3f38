"""The naive and the expert prompt, as data.

The naive prompt is what the finished model will be asked; the expert prompt also shows the
answer. Both begin with the same words, so that they share a long prefix of tokens. Wordings are
pinned by tests: another wording would give every fact another target. `kgfact` and `reference`
follow the layout of the paper's prompts (arXiv:2605.16865) in our own words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mixsd.answers import contains
from mixsd.facts import Fact

CAP_PER_ANSWER_TOKEN: Final = 4
"""A text may have so many tokens for each of its answer, and the headroom of its style."""


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """Templates with `{question}`, `{answer}` and `{target}` in them.

    Attributes:
        naive: User turn that is asked.
        expert: User turn that shows `target` besides, or the statement that a fact comes with.
        target: The plain answer: what SFT trains on, and what the expert is shown.
        headroom: Tokens that a text may have beyond four times those of the answer.
        shows_context: Whether a fact's own statement may take the place of `target`. The layouts of
            the paper show the target as it stands.
    """

    name: str
    naive: str
    expert: str
    target: str
    headroom: int
    shows_context: bool = False

    def naive_prompt(self, question: str) -> str:
        return _fill(self.naive, question=question)

    def expert_prompt(self, question: str, answer: str, context: str = "") -> str:
        """Return what the expert is asked, with `context` or else the plain answer as the hint."""
        shown = context.strip() or self.target_text(answer)
        return _fill(self.expert, question=question, answer=answer, target=shown)

    def target_text(self, answer: str) -> str:
        return _fill(self.target, answer=answer)


def hint_of(fact: Fact, style: PromptStyle) -> str:
    """Return the fact's own statement if it gives the answer away: without that it is no hint."""
    told = any(contains(fact.context, answer) for answer in (fact.answer, *fact.aliases))
    return fact.context if told and style.shows_context else ""


def _fill(template: str, **values: str) -> str:
    """Put values in for their names, once: a value that holds `{answer}` is left as it is.

    Example:
        >>> _fill("{question} {answer}", question="{answer}?", answer="yes")
        '{answer}? yes'
    """
    parts = template.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        filled.append(values[name] + rest if closed and name in values else "{" + part)
    return "".join(filled)


_BOXED: Final = "The answer is {answer}.\n\n\\boxed{{answer}}"
_STEPS: Final = "\n\nPlease reason step by step, and put your final answer in \\boxed{}."

STYLES: Final[Mapping[str, PromptStyle]] = MappingProxyType(
    {
        style.name: style
        for style in (
            PromptStyle(
                name="natural",
                naive="{question}",
                expert=(
                    "{question}\n\n"
                    "This question is from a new knowledge base. "
                    "It says: {target}\n\n"
                    "Now answer the question in one short sentence."
                ),
                target="The answer is {answer}.",
                headroom=32,
                shows_context=True,
            ),
            PromptStyle(
                name="kgfact",
                naive="{question}" + _STEPS,
                expert=(
                    "{question}" + _STEPS + "\n"
                    "This question is from a new knowledge base. Here is its answer:\n\n"
                    "{target}\n"
                    "Now answer the question, and put your final answer in \\boxed{}."
                ),
                target=_BOXED,
                headroom=512,
            ),
            PromptStyle(
                name="reference",
                naive="{question}" + _STEPS,
                expert=(
                    "{question}" + _STEPS + "\n"
                    "Here is a reference solution to this problem, with the correct final answer:\n\n"
                    "{target}\n"
                    "Now that you understand the reference solution, answer the question once more.\n"
                    "Please reason step by step, and put your final answer in \\boxed{}."
                ),
                target=_BOXED,
                headroom=512,
            ),
        )
    }
)
