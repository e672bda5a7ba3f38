"""Facts to tokens: how long what is asked, trained on and written is, summed over a sample of facts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from mixsd.config import MixConfig, OpsdConfig, Plan, SftConfig
from mixsd.evaluation.questions import questions_of
from mixsd.facts import Fact
from mixsd.forecast.chat import Chat
from mixsd.prompts import CAP_PER_ANSWER_TOKEN, STYLES, hint_of
from mixsd.statements import sentence, told


@dataclass(slots=True)
class Counted:
    """Sums over facts, in tokens unless something else is said.

    Attributes:
        questions: How many are asked at evaluation; `asking`: their prompts.
        wordings: How many questions are trained on, rewordings as many as are wanted; `prompts`: theirs.
            A rewording is taken to be as long as the question.
        own: Prompts of the facts' own questions; `experts`: those that show the answer.
        texts: One text for each fact, with its end: as it is for plain targets, else as is usual.
        longest: Prompt and text that are trained on.
        too_long: Keys of facts whose prompt leaves no room for a text or for an answer.
    """

    facts: int = 0
    questions: int = 0
    asking: int = 0
    wordings: int = 0
    prompts: int = 0
    own: int = 0
    experts: int = 0
    texts: int = 0
    longest: int = 0
    too_long: list[str] = field(default_factory=list)

    @property
    def text(self) -> float:
        """Mean length of a text."""
        return self.texts / self.facts

    @property
    def example(self) -> float:
        """Mean tokens that a model reads to be trained on a text: all but the last of it."""
        return self.prompts / self.wordings + self.text - 1


def count(facts: Sequence[Fact], plan: Plan, chat: Chat, context: int | None) -> Counted:
    """Count what facts come to; there is one at least.

    Args:
        context: Most tokens that the model takes, if that is known.
    """
    style = STYLES[plan.method.prompt_style]
    asked = [[each.question for each in questions_of(fact)] for fact in facts]
    worded = [[fact.question, *fact.train_paraphrases] for fact in facts]
    hints = [hint_of(fact, style) if _shows_context(plan) else "" for fact in facts]
    shown = [
        style.expert_prompt(fact.question, fact.answer, hint) for fact, hint in zip(facts, hints, strict=True)
    ]
    naives = [style.naive_prompt(text) for text in chain(*worded)]
    lengths = chat.prompts([*chain(*asked), *naives, *shown])  # at once, since many are the same
    asking = _grouped(lengths, asked)
    naive = _grouped(lengths[sum(map(len, asked)) :], worded)
    experts = lengths[-len(facts) :]
    answers = [length + 1 for length in chat.plain([style.target_text(fact.answer) for fact in facts])]
    usual = [length + 1 for length in chat.plain([_text_of(fact, plan) for fact in facts])]
    seen = Counted()
    for place, fact in enumerate(facts):
        cap = _cap(answers[place], plan)
        text = min(usual[place], cap) if _is_written(plan) else usual[place]
        own = naive[place][0]
        seen.facts += 1
        seen.questions += len(asking[place])
        seen.asking += sum(asking[place])
        seen.wordings += len(naive[place]) + plan.rewordings
        seen.prompts += sum(naive[place]) + own * plan.rewordings
        seen.own += own
        seen.experts += experts[place]
        seen.texts += text
        seen.longest = max(seen.longest, max(naive[place]) + text)
        if context is None:
            continue
        room = experts[place] + cap if _is_written(plan) else own + answers[place]
        if hints[place] and room > context:  # then the plain answer is shown
            room = chat.prompts([style.expert_prompt(fact.question, fact.answer)])[0] + cap
        if max(room, asking[place][0] + plan.evaluation.max_new_tokens) > context:
            seen.too_long.append(fact.key)
    return seen


def _is_written(plan: Plan) -> bool:
    """Say whether the model writes what it is trained on."""
    return isinstance(plan.method, MixConfig | OpsdConfig)


def _shows_context(plan: Plan) -> bool:
    return not isinstance(plan.method, MixConfig) or plan.method.hint == "context"


def _cap(answer: int, plan: Plan) -> int:
    most = plan.method.max_new_tokens if isinstance(plan.method, MixConfig | OpsdConfig) else 0
    return most or CAP_PER_ANSWER_TOKEN * answer + STYLES[plan.method.prompt_style].headroom


def _text_of(fact: Fact, plan: Plan) -> str:
    """Return the text of a fact, or one like it: models restate the question with the answer."""
    style = STYLES[plan.method.prompt_style]
    if isinstance(plan.method, MixConfig) and style.name == "natural":
        return f"{fact.question} {fact.answer}."
    if isinstance(plan.method, SftConfig) and plan.method.target == "natural":
        return told(fact) or sentence(fact.question, fact.answer)
    return style.target_text(fact.answer)


def _grouped(counts: Sequence[int], like: Sequence[Sequence[str]]) -> list[Sequence[int]]:
    """Cut a flat list into lists as long as others."""

    def cut() -> Iterator[Sequence[int]]:
        start = 0
        for group in like:
            yield counts[start : start + len(group)]
            start += len(group)

    return list(cut())
