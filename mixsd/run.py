"""The steps of a run, for whoever keeps its state: the command line in files, the service in rows.

Nothing here is written to disk but checkpoints and the adapter.
"""

import hashlib
import json
import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import peft
import torch
import transformers
from peft import PeftModel

import mixsd
from mixsd import packaging
from mixsd.cache import SupervisionCache
from mixsd.cache_key import keys_of
from mixsd.config import MemitConfig, MixConfig, OpsdConfig, Plan
from mixsd.editing import memit
from mixsd.editing.covariance import ABOUT
from mixsd.editing.layers import edited_layers
from mixsd.evaluation.judge import Judgement, judge
from mixsd.evaluation.measure import Measured, measure
from mixsd.evaluation.recall import answered
from mixsd.evaluation.suites import general, open_prompts
from mixsd.facts import Fact
from mixsd.facts import sha256_of as sha256_of_facts
from mixsd.generation import Generation, plain
from mixsd.models.load import Base
from mixsd.objectives import opsd
from mixsd.objectives.replay import Beside, given, replay_examples, replay_prompts
from mixsd.packaging import PackagedFile, write_package
from mixsd.progress import OnProgress, Progress, silent
from mixsd.rewording.writing import reworded
from mixsd.supervision import Supervision, sha256_of, summary
from mixsd.training import launch, lora
from mixsd.training.batches import Example, examples_of
from mixsd.training.compute import check_device
from mixsd.training.follower import Task
from mixsd.training.loop import Hooks, Source, Trained, planned_steps, train_adapter
from mixsd.units import Unit, ids_of, units_of
from mixsd.wordings import SharedTexts

OnRecords = Callable[[Sequence[Supervision]], None]

log = logging.getLogger(__name__)

_LOOKED_UP_AT_ONCE: Final = 256

_SAMPLE: Final = 256
"""Facts that are asked while training, to see how many are known; the rest once all of those are."""

_NOT_DECISIVE: Final = {"checkpoint_seconds", "micro_batch", "processes"}
"""Settings of training that change nothing but rounding, and with several processes draws of dropout."""


def digest_of(value: Any) -> str:
    """Return the digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def base_digest(base: Base) -> dict[str, str]:
    """Return what names the base model in digests: other weights or another template, other results."""
    return {"id": base.id, "revision": base.revision, "template_sha256": base.template_sha256}


def check(base: Base, plan: Plan) -> None:
    """Refuse at once what training would refuse after texts were made for it.

    Raises:
        ConfigError: The device or the model cannot do what is asked for.
    """
    if isinstance(plan.method, MemitConfig):
        edited_layers(base, plan.method)
        return
    check_device(base.model.device, plan.training)
    launch.check_processes(base.model.device, plan.training.processes)
    lora.detach(lora.attach(base, plan.training.lora, seed=plan.training.seed))


def baseline_input(base: Base, facts: Sequence[Fact], plan: Plan) -> str:
    """Return the digest of everything that decides what the base model answers."""
    suites = {"general": general().sha256, "open": open_prompts().sha256}
    settings = plan.to_json()["evaluation"]
    return digest_of([base_digest(base), sha256_of_facts(facts), settings, suites, _versions()])


def supervision_input(base: Base, facts: Sequence[Fact], plan: Plan) -> str:
    """Return the digest of everything that decides the supervision."""
    method = {k: v for k, v in plan.to_json()["method"].items() if k != "batch_facts"}
    return digest_of([base_digest(base), sha256_of_facts(facts), method, mixsd.LAW_VERSION])


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, as plain data, without those that change nothing but rounding."""
    training = {name: value for name, value in settings["training"].items() if name not in _NOT_DECISIVE}
    return {**settings, "training": training}


def training_input(base: Base, records: Sequence[Supervision], plan: Plan) -> str:
    """Return the digest of everything that decides the adapter's weights, but for rounding."""
    settings = decisive(plan.to_json())["training"]
    method = plan.to_json()["method"]
    if isinstance(plan.method, MemitConfig):  # no setting of the training decides anything
        return digest_of(
            [base_digest(base), sha256_of(records), method, replay_prompts(ABOUT).sha256, _versions()]
        )
    on_policy = isinstance(plan.method, OpsdConfig)
    made = [method if on_policy else method["prompt_style"]]
    if plan.training.retention.type != "none":
        made.append(replay_prompts(plan.training.retention.about).sha256)
    return digest_of([base_digest(base), sha256_of(records), settings, *made, _versions()])


@dataclass(frozen=True, slots=True)
class Supervised:
    """What making supervision amounted to.

    Attributes:
        reused: Records that were taken from the cache.
        report: How the others were made, see `Generation.report`; empty for plain targets.
        rewordings: How rewordings were found, see `mixsd.rewording`; empty if none were wanted.
    """

    reused: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)
    rewordings: Mapping[str, Any] = field(default_factory=dict)

    def warnings(self) -> Iterator[str]:
        """Yield what a user should know of how it went."""
        for reason in self.report.get("reasons", ()):
            yield f"texts were decoded the slow way: {reason}"
        if halvings := self.report.get("halvings"):
            slots = self.report["slots"]
            yield f"memory ran out {halvings} times: texts were decoded {slots} at a time in the end"
        if self.rewordings:
            wanted = self.rewordings["wanted"]
            made = self.rewordings["by_model"] + self.rewordings["by_templates"]
            if made < wanted:
                yield f"{made} of {wanted} rewordings were found: facts that have fewer are trained on fewer"

    def to_json(self) -> dict[str, Any]:
        """Return how it went as plain data."""
        told = {"rewordings": dict(self.rewordings)} if self.rewordings else {}
        return {"reused": self.reused, **self.report, **told}


def supervise(
    base: Base,
    facts: Sequence[Fact],
    plan: Plan,
    *,
    on_records: OnRecords,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
    cache: SupervisionCache | None = None,
) -> Supervised:
    """Make the supervision that is missing, by the plan's method. See `mixsd.generation`.

    Args:
        on_records: Given records as they are finished, in any order.
        cache: Records that it holds are handed on first and not made; those that are made are put
            into it. Methods that take the plain answers make their records too fast to need it.
    """
    worded = reworded(base, facts, plan.method, on_progress=on_progress)
    facts = worded.facts
    if isinstance(plan.method, OpsdConfig):
        for record in opsd.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    if isinstance(plan.method, MemitConfig):
        for record in memit.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    if not isinstance(plan.method, MixConfig):
        records = plain(
            base,
            facts,
            prompt_style=plan.method.prompt_style,
            seed=plan.method.seed,
            natural=plan.method.target == "natural",
            done=done,
            on_progress=on_progress,
        )
        for record in records:
            on_records([record])
        return Supervised(rewordings=worded.report)
    if plan.method.wording_texts == "shared":
        shared = SharedTexts(base, facts, plan.method, done=done, on_records=on_records)
        facts, done, on_records = shared.facts, shared.done, shared.hand_on
    total = sum(1 for _ in units_of(facts, plan.generations))
    reused: set[tuple[str, int]] = set()
    keep = on_records
    if cache is not None:
        cached = _Cached(base, facts, plan.method, cache, on_records)
        reused, keep = cached.hand_on(done, on_progress), cached.keep
    had = {*done, *reused}
    generation = Generation(base, plan.method, done=had, total=total, on_progress=on_progress)
    for record in generation.records(facts):
        keep([record])
    return Supervised(len(reused), generation.report(), worded.report)


class _Cached:
    """Takes the records of a run from the cache, and puts those there that are made."""

    def __init__(
        self,
        base: Base,
        facts: Sequence[Fact],
        config: MixConfig,
        cache: SupervisionCache,
        on_records: OnRecords,
    ) -> None:
        self._units = list(units_of(facts, config.generations))
        self._facts = {fact.key: fact for fact in facts}
        self._key = keys_of(base, config)
        self._cache = cache
        self._on_records = on_records

    def hand_on(self, done: Collection[tuple[str, int]], on_progress: OnProgress) -> set[tuple[str, int]]:
        """Hand on what is there of what is missing; return which records that are."""
        missing = [unit for unit in self._units if unit.id not in done]
        before = len(self._units) - len(missing)
        reused: set[tuple[str, int]] = set()
        for start in range(0, len(missing), _LOOKED_UP_AT_ONCE):
            on_progress(Progress(before + len(reused), len(self._units), "targets"))
            keys = {self._key(unit): unit.id for unit in missing[start : start + _LOOKED_UP_AT_ONCE]}
            found = self._cache.get_many(keys)
            if found:
                self._on_records(list(found.values()))
                reused.update(keys[key] for key in found)
        log.info("%d of %d targets were made before and taken from the cache", len(reused), len(missing))
        return reused

    def keep(self, made: Sequence[Supervision]) -> None:
        """Hand on records that were made, then put them into the cache."""
        self._on_records(made)
        self._cache.put_many((self._key(self._unit_of(record)), record) for record in made)

    def _unit_of(self, record: Supervision) -> Unit:
        return Unit(self._facts[record.fact_key], record.question, record.generation)


def in_order(records: Sequence[Supervision], facts: Sequence[Fact], plan: Plan) -> list[Supervision]:
    """Return records in the order of the facts, however they were finished."""
    by_id = {(record.fact_key, record.generation): record for record in records}
    return [by_id[each] for each in ids_of(facts, plan.generations, plan.rewordings) if each in by_id]


def most_targets(facts: Sequence[Fact], plan: Plan) -> int:
    """Return how many targets there can be: as many as there are, unless rewordings are not found."""
    return sum(1 for _ in ids_of(facts, plan.generations, plan.rewordings))


def train(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    plan: Plan,
    *,
    work: Path,
    resume: Sequence[Path] = (),
    hooks: Hooks = Hooks(),  # noqa: B008  frozen
    input_sha256: str = "",
) -> Trained:
    """Train the adapter on the supervision, see `mixsd.training.loop`; or make it by editing.

    The method `memit` trains nothing and has no checkpoints, see `mixsd.editing.memit`.

    If the plan asks for several processes, the others are started, and end, with it; an edit is made
    by this one alone.

    Args:
        input_sha256: Names the run whose checkpoints may be resumed from. Left out, it is that of
            records and plan; runs that differ only in where they end may share one.

    Raises:
        ProcessLostError: One of several processes ended before its time.
    """
    if isinstance(plan.method, MemitConfig):
        return memit.edit(base, facts, records, plan.method, hooks=hooks)
    named = input_sha256 or training_input(base, records, plan)
    if plan.training.processes == 1:
        return train_share(
            base, facts, records, plan, work=work, resume=resume, hooks=hooks, input_sha256=named
        )
    task = Task.of(base, facts, records, plan=plan, work=work, input_sha256=named, resume=resume)
    with launch.others(task, base.model.device, on_check=hooks.on_check) as on_check:
        hooks = replace(hooks, on_check=on_check)
        return train_share(
            base, facts, records, plan, work=work, resume=resume, hooks=hooks, input_sha256=named
        )


def train_share(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    plan: Plan,
    *,
    work: Path,
    resume: Sequence[Path],
    input_sha256: str,
    hooks: Hooks = Hooks(),  # noqa: B008  frozen
) -> Trained:
    """Train within this process: all of every batch, or its share in a process group."""
    examples = examples_of(base, records, prompt_style=plan.method.prompt_style)
    supervised = {record.fact_key for record in records if record.trainable}
    taught = [fact for fact in facts if fact.key in supervised]
    learned = hooks.learned or _learned(base, taught, plan, hooks.on_check)
    return train_adapter(
        base,
        examples,
        plan.training,
        work=work,
        input_sha256=input_sha256,
        resume=resume,
        hooks=replace(hooks, learned=learned),
        source=_source(base, facts, records, examples, plan, hooks.on_check),
    )


def steps_of(records: Sequence[Supervision], plan: Plan) -> int:
    """Return how many steps `train` takes, if it does not end early."""
    trainable = sum(record.trainable for record in records)
    if isinstance(plan.method, MemitConfig):
        return memit.planned_steps(trainable, plan.method)
    return planned_steps(trainable, plan.training)


def _source(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    examples: Sequence[Example],
    plan: Plan,
    on_check: Callable[[], None],
) -> Source | None:
    """Return what makes the examples of each step, where that is more than the stored targets."""
    taught: Source | None = None
    if isinstance(plan.method, OpsdConfig):
        taught = opsd.OnPolicy(base, facts, records, plan.method, on_check=on_check)
    retention = plan.training.retention
    if retention.type == "none":
        return taught
    answers = replay_examples(base, retention, on_check=on_check)
    batch_size = min(plan.training.batch_size, len(examples))
    return Beside(
        taught or given(examples),
        answers,
        ratio=retention.ratio,
        seed=retention.seed,
        batch_size=batch_size,
        targets=len(examples),
    )


def _learned(
    base: Base, facts: Sequence[Fact], plan: Plan, on_check: Callable[[], None]
) -> Callable[[PeftModel], float]:
    """Return what asks a model the questions it was taught, and returns the share that it answers.

    With many facts it asks a sample, and the others only if the model knows all of that.
    """
    shuffled = random.Random(f"asked {plan.training.seed}").sample(facts, len(facts))  # noqa: S311  a sample

    def known(model: PeftModel, asked: Sequence[Fact]) -> int:
        pairs = [(fact.question, fact) for fact in asked]
        return sum(answered(base, model, pairs, plan.evaluation, on_step=lambda _: on_check()))

    def recall(model: PeftModel) -> float:
        sample, others = shuffled[:_SAMPLE], shuffled[_SAMPLE:]
        found = known(model, sample)
        if found < len(sample) or not others:
            return found / len(sample)
        return (found + known(model, others)) / len(facts)

    return recall


def evaluate(
    base: Base,
    adapter: Path,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    baseline: Measured,
    plan: Plan,
    *,
    on_progress: OnProgress = silent,
) -> Judgement:
    """Ask the stored adapter what the base model was asked, and compare.

    Args:
        base: The base model, without an adapter on it.
        adapter: Folder with the two files of peft.
        baseline: What the base model said.
    """
    model = lora.load_adapter(base, adapter)
    model.eval()
    with lora.merged(model):
        said = measure(
            base,
            facts,
            plan.evaluation,
            model=model,
            baseline=baseline,
            on_progress=on_progress,
        )
    lora.detach(model)
    return judge(facts, records, baseline, said, plan.evaluation)


def training_summary(trained: Trained) -> dict[str, Any]:
    """Return what training amounted to. Losses are means over the first and the last step.

    Of an edit the last loss is that of the edited model, and it has no epochs.
    """
    return {
        "steps": trained.steps,
        "epochs": trained.epochs or None,
        "first_loss": trained.losses[0] if trained.losses else None,
        "last_loss": trained.losses[-1] if trained.losses else None,
        "stopped_early": trained.stopped_early,
        "stopped_because": trained.stopped or None,
    }


def manifest(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    plan: Plan,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Return everything that decided an adapter, for its package. Equal runs, equal bytes."""
    return {
        **plan.to_json(),
        "facts": {"n": len(facts), "sha256": sha256_of_facts(facts)},
        "supervision": summary(records) | {"sha256": sha256_of(records)},
        "training_result": training,
        "suites": {"general_sha256": general().sha256, "open_sha256": open_prompts().sha256},
        "compute": {"device": base.model.device.type, "threads": torch.get_num_threads()},
    }


def package(
    target: Path,
    *,
    base: Base,
    adapter: Path,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    plan: Plan,
    training: dict[str, Any],
    judgement: Judgement,
    created_at: str,
) -> list[PackagedFile]:
    """Write the folder that is given to users: complete, or not there. See `mixsd.packaging`."""
    return write_package(
        target,
        adapter=adapter,
        tokenizer=base.folder,
        base=packaging.Base(
            id=base.id,
            hub_id=base.hub_id,
            revision=base.revision,
            licence=base.licence or "unknown",
            template_sha256=base.template_sha256,
        ),
        manifest=manifest(base, facts, records, plan, training),
        results=[verdict.to_json() for verdict in judgement.verdicts],
        scores=[score.to_json() for score in judgement.scores],
        summary=outcome_summary(records, plan, training),
        created_at=created_at,
    )


def outcome_summary(records: Sequence[Supervision], plan: Plan, training: dict[str, Any]) -> dict[str, Any]:
    """Return how supervision and training went, in figures."""
    confidence = plan.evaluation.confidence
    return {"confidence": confidence, "supervision": summary(records), "training": training}


def _versions() -> dict[str, str]:
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
