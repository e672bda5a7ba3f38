"""The upper bound: nothing is trained, and each fact stands in the prompt of what is asked of it."""

from collections.abc import Sequence
from dataclasses import replace

from mixsd.config import EvalConfig
from mixsd.evaluation.judge import Judgement, judge
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.generation import plain
from mixsd.models.load import Base
from mixsd.progress import OnProgress
from mixsd.prompts import STYLES, hint_of

STYLE = STYLES["natural"]


def judged_in_context(
    base: Base,
    facts: Sequence[Fact],
    config: EvalConfig,
    baseline: Measured,
    *,
    on_progress: OnProgress,
) -> Judgement:
    """Compare the base model that is shown each fact with the same model that is not.

    General questions and open prompts are asked without any fact, so on those both are one model.
    """
    asked = replace(config, general=False, drift=False)
    said = measure(base, [shown(fact) for fact in facts], asked, on_progress=on_progress)
    told = replace(baseline, facts=said.facts)
    return judge(facts, list(plain(base, facts, prompt_style=STYLE.name, seed=0)), baseline, told, config)


def shown(fact: Fact) -> Fact:
    """Return a fact whose questions are the expert prompts of what they were."""

    def prompt(question: str) -> str:
        return STYLE.expert_prompt(question, fact.answer, hint_of(fact, STYLE))

    return replace(
        fact,
        question=prompt(fact.question),
        paraphrases=tuple(map(prompt, fact.paraphrases)),
        probes=tuple(replace(probe, question=prompt(probe.question)) for probe in fact.probes),
    )
