"""What each phase of a run has to do, in tokens: a function of facts, settings and model alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mixsd.config import MemitConfig, MixConfig, OpsdConfig, Plan
from mixsd.evaluation.suites import OPEN_TOKENS, general, open_prompts
from mixsd.facts import Fact
from mixsd.forecast.chat import Chat
from mixsd.forecast.counting import Counted, count
from mixsd.forecast.shape import Memory, Shape, memory_of
from mixsd.objectives.prompts import replay_prompts
from mixsd.training.schedule import planned_steps
from mixsd.units import ids_of

ATTEMPTS: Final = 2
"""Attempts at a text, as a rule. How many they are nobody knows before."""
_NAMED: Final = 10
"""Facts that are named, of those that are too long."""
_FETCHING: Final = 20
"""A byte that is fetched takes as long as so many that are read from disk."""


@dataclass(frozen=True, slots=True)
class PhaseWork:
    """What a phase has to do.

    Attributes:
        units: As its progress counts them.
        read: Tokens that the model reads: prompts, and what it is trained or judged on.
        written: Tokens that it writes: for answers their cap, for texts what is usual.
        work: What its time is in proportion to: all these tokens, or bytes of the model.
    """

    phase: str
    units: int
    unit: str
    read: int
    written: int
    work: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes:
        facts: All of them.
        sampled: Those that were looked at; the others are taken to be like them.
        targets: Texts that there can be.
        steps: Optimizer steps, if training does not end early.
        too_long: Of the sampled facts those whose prompt leaves no room for a text or an answer.
        memory: None if too little is known of the model.
    """

    facts: int
    sampled: int
    counted_by: str
    targets: int
    steps: int
    phases: tuple[PhaseWork, ...]
    too_long: int
    too_long_keys: tuple[str, ...]
    memory: Memory | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Of a run that starts from an adapter, how many facts are taught, replayed, and taken away."""

    taught: int
    kept: int
    retired: int


def work_of(
    facts: Sequence[Fact],
    n_facts: int,
    plan: Plan,
    chat: Chat,
    shape: Shape,
    *,
    device: str,
    fetched: int,
    changed: Changed | None = None,
) -> Work:
    """Say what a run has to do.

    Args:
        facts: A sample of the facts, with one at least.
        n_facts: How many there are.
        device: Kind of device, which decides the type of weights.
        fetched: Bytes of the model that must be fetched first.
        changed: What became of the facts of an adapter that it starts from. Left out: all are taught.
    """
    scale = n_facts / len(facts)
    seen = count(facts, plan, chat, shape.context)
    taught, gone = (changed.taught / n_facts, changed.retired) if changed else (1.0, 0)
    targets = round(sum(1 for _ in ids_of(facts, plan.generations, plan.rewordings)) * scale * taught)
    led_back = round(gone * seen.wordings / seen.facts)
    replayed = plan.training.kept_ratio if changed and changed.kept else 0.0
    generating = _generating(seen, scale * taught, targets, plan)
    if led_back:
        generating = _summed([generating, _leading_back(seen, led_back, plan)])
    targets += led_back
    training, at_once = _training(seen, targets, plan, chat, replayed)
    phases = (
        PhaseWork("preparing", 2, "steps", 0, 0, float((shape.bytes or 0) + _FETCHING * fetched + 1)),
        # The parent is asked the questions of all facts too, and every model those of retired ones.
        _asking("baseline", seen, scale, plan, chat, beside=n_facts + 2 * gone if changed else 0),
        generating,
        training,
        _asking("evaluating", seen, scale, plan, chat, beside=gone),
        PhaseWork("packaging", 1, "adapters", 0, 0, 1.0),
    )
    return Work(
        facts=n_facts,
        sampled=len(facts),
        counted_by=chat.counted_by,
        targets=targets,
        steps=training.units,
        phases=phases,
        too_long=len(seen.too_long),
        too_long_keys=tuple(seen.too_long[:_NAMED]),
        memory=memory_of(
            shape,
            plan.training.lora,
            device=device,
            longest=seen.longest,
            at_once=at_once,
            cached=_cached(seen, plan),
        ),
    )


def together(every: Sequence[tuple[Work, bool]]) -> Work:
    """Say what several runs over the same facts have to do as variants of one job.

    The base model is loaded and asked once. Trained, judged and packed is each.

    Args:
        every: Of each run what it would do by itself, and whether its texts are its own: otherwise
            another one of these makes them.
    """
    first = every[0][0]
    own = [work for work, has_own in every if has_own]
    all_of_them = [work for work, _ in every]
    doing = {"preparing": [first], "baseline": [first], "generating": own}
    phases = tuple(
        _summed([work.phases[place] for work in doing.get(phase.phase, all_of_them)])
        for place, phase in enumerate(first.phases)
    )
    memories = [work.memory for work in all_of_them if work.memory is not None]
    largest = max(memories, key=lambda memory: memory.device_at_once, default=None)
    memory = largest and replace(largest, adapter=sum(each.adapter for each in memories))
    return replace(
        first,
        targets=sum(work.targets for work in own),
        steps=sum(work.steps for work in all_of_them),
        phases=phases,
        memory=memory,
    )


def _summed(parts: Sequence[PhaseWork]) -> PhaseWork:
    return replace(
        parts[0],
        units=sum(part.units for part in parts),
        read=sum(part.read for part in parts),
        written=sum(part.written for part in parts),
        work=sum(part.work for part in parts),
    )


def steps_of(targets: int, plan: Plan) -> int:
    """Return how many steps a run over so many targets takes, if it does not end early."""
    if isinstance(plan.method, MemitConfig):
        return plan.method.v_steps if targets else 0
    return planned_steps(targets, plan.training)


def _of_tokens(phase: str, units: int, unit: str, read: float, written: float) -> PhaseWork:
    return PhaseWork(phase, units, unit, round(read), round(written), float(max(1, round(read + written))))


def _leading_back(seen: Counted, texts: int, plan: Plan) -> PhaseWork:
    """Return the work of having the base model answer questions of retired facts."""
    read, written = texts * seen.own / seen.facts, texts * plan.evaluation.max_new_tokens
    return _of_tokens("generating", texts, "targets", read + written, written)


def _asking(phase: str, seen: Counted, scale: float, plan: Plan, chat: Chat, *, beside: int = 0) -> PhaseWork:
    """Return the work of asking a model everything, and `beside` that so many questions of facts.

    The base model answers the open prompts first; under both models its answers are read behind them.
    """
    common = [item.question for item in general().items] if plan.evaluation.general else []
    prompts = [item.prompt for item in open_prompts().items] if plan.evaluation.drift else []
    asked = round(seen.questions * scale) + beside
    opened, said = _sum(chat, "open", prompts), len(prompts) * OPEN_TOKENS
    read = (
        seen.asking * scale + beside * seen.own / seen.facts + _sum(chat, "general", common) + opened + said
    )
    written = (asked + len(common)) * plan.evaluation.max_new_tokens
    if phase == "baseline":
        read, written = read + opened, written + said
    return _of_tokens(phase, asked + len(common) + len(prompts), "questions", read, written)


def _generating(seen: Counted, scale: float, targets: int, plan: Plan) -> PhaseWork:
    """Return the work of making texts. What one conditional has written both of them read."""
    method = plan.method
    if not isinstance(method, MixConfig):  # the texts are there, and their loss is measured
        read = seen.prompts + seen.text * seen.wordings
        return _of_tokens("generating", targets, "targets", read * scale, 0)
    attempts = min(ATTEMPTS, method.max_attempts)
    if method.wording_texts == "shared":
        written = float(seen.texts * attempts)
        behind_others = seen.prompts - seen.own + seen.text * (seen.wordings - seen.facts)
        read = seen.experts + seen.own + behind_others
    else:
        written = seen.text * seen.wordings * attempts
        read = seen.experts / seen.facts * seen.wordings + seen.prompts
    times = scale * method.generations
    return _of_tokens("generating", targets, "targets", (read + written) * times, written * times)


def _training(
    seen: Counted, targets: int, plan: Plan, chat: Chat, replayed: float = 0.0
) -> tuple[PhaseWork, int]:
    """Return the work of training, and the tokens of a step. So many texts are `replayed` beside each."""
    steps, retention = steps_of(targets, plan), plan.training.retention
    if isinstance(plan.method, MemitConfig):
        read = steps * targets * seen.example + plan.method.covariance_tokens
        return _of_tokens("training", steps, "steps", read, 0), round(seen.example * targets)
    batch = min(plan.training.batch_size, targets)
    step, beside, written = batch * seen.example * (1 + replayed), 0.0, 0.0
    if isinstance(plan.method, OpsdConfig):  # it answers, and is judged by the expert
        written += steps * batch * plan.method.rollouts * seen.text
        step *= 2 * plan.method.rollouts
    if retention.type != "none":
        prompts = [item.prompt for item in replay_prompts(retention.about).items[: retention.prompts]]
        asked = _sum(chat, f"retention {retention.about} {len(prompts)}", prompts)
        answers = len(prompts) * retention.max_new_tokens
        step += retention.ratio * batch * (asked + answers) / len(prompts)
        beside, written = beside + asked, written + answers
    return _of_tokens("training", steps, "steps", steps * step + beside, written), round(step)


def _sum(chat: Chat, name: str, texts: Sequence[str]) -> int:
    """Return the tokens of prompts of ours, which are always the same but for whether they are asked."""
    if not texts:
        return 0
    if name not in chat.sums:
        chat.sums[name] = sum(chat.prompts(texts))
    return chat.sums[name]


def _cached(seen: Counted, plan: Plan) -> int:
    """Return the tokens whose keys and values are kept while questions or texts are decoded."""
    asked = min(plan.evaluation.batch_size, seen.questions)
    answering = asked * (seen.asking / seen.questions + plan.evaluation.max_new_tokens)
    if not isinstance(plan.method, MixConfig):
        return round(answering)
    side_by_side = min(plan.method.batch_facts, seen.facts * plan.method.generations)
    writing = side_by_side * ((seen.experts + seen.own) / seen.facts + 2 * seen.text)
    return round(max(answering, writing))
