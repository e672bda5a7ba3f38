"""The steps of a run, for whoever keeps its state: the command line in files, the service in rows.

Nothing here is written to disk but checkpoints and the adapter.
"""

import hashlib
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import peft
import torch
import transformers
from peft import PeftModel

import mixsd
from mixsd import packaging
from mixsd.config import MemitConfig, OpsdConfig, Plan
from mixsd.editing import memit
from mixsd.editing.covariance import ABOUT
from mixsd.editing.layers import edited_layers
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.judge import Judgement, judge
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.recall import answered
from mixsd.evaluation.suites import general, open_prompts
from mixsd.facts import Fact
from mixsd.facts import sha256_of as sha256_of_facts
from mixsd.known import saved
from mixsd.machine import kind_of
from mixsd.models.load import Base
from mixsd.objectives import opsd
from mixsd.objectives.prompts import replay_prompts
from mixsd.objectives.replay import Beside, given, replay_examples
from mixsd.packaging import PackagedFile, write_package
from mixsd.progress import OnProgress, silent
from mixsd.supervision import Supervision, sha256_of, summary
from mixsd.training import launch, lora
from mixsd.training.batches import Example, examples_of
from mixsd.training.compute import check_device
from mixsd.training.follower import Task
from mixsd.training.loop import Hooks, Trained, train_adapter
from mixsd.training.schedule import planned_steps
from mixsd.training.sharded import check_layers
from mixsd.training.source import Source
from mixsd.training.world import World
from mixsd.units import ids_of

log = logging.getLogger(__name__)

_SAMPLE: Final = 256
"""Facts that are asked while training, to see how many are known; the rest once all of those are."""

_NOT_DECISIVE: Final = {"checkpoint_seconds", "micro_batch", "processes", "shard"}
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
    if plan.training.shard != "none":
        check_layers(base.model)
    lora.detach(lora.attach(base, plan.training.lora, seed=plan.training.seed))


def baseline_input(base: Base, facts: Sequence[Fact], plan: Plan) -> str:
    """Return the digest of everything that decides what the base model answers."""
    suites = {"general": general().sha256, "open": open_prompts().sha256}
    settings = _without_gate(plan.to_json()["evaluation"])
    return digest_of([base_digest(base), sha256_of_facts(facts), settings, suites, _versions()])


def supervision_input(base: Base, facts: Sequence[Fact], plan: Plan) -> str:
    """Return the digest of everything that decides the supervision."""
    method = {k: v for k, v in plan.to_json()["method"].items() if k != "batch_facts"}
    return digest_of([base_digest(base), sha256_of_facts(facts), method, mixsd.LAW_VERSION])


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, as plain data, without those that change nothing but rounding.

    Nor does the gate, which only judges what was measured.
    """
    training = {name: value for name, value in settings["training"].items() if name not in _NOT_DECISIVE}
    return {**settings, "training": training, "evaluation": _without_gate(settings["evaluation"])}


def _without_gate(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evaluation.items() if name != "gate"}


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
    answers = _answers(base, plan, on_check)
    batch_size = min(plan.training.batch_size, len(examples))
    return Beside(
        taught or given(examples),
        answers,
        ratio=retention.ratio,
        seed=retention.seed,
        batch_size=batch_size,
        targets=len(examples),
    )


def _answers(base: Base, plan: Plan, on_check: Callable[[], None]) -> list[Example]:
    """Return what the base model says to the prompts of retention."""
    retention = plan.training.retention
    if plan.training.shard == "none":
        return replay_examples(base, retention, on_check=on_check)
    # The others of a sharded run have the model's weights on their CPU alone.
    return World().made_by_first(
        lambda: [example.on_cpu() for example in replay_examples(base, retention, on_check=on_check)]
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
    said = measure_adapter(base, adapter, facts, plan.evaluation, baseline=baseline, on_progress=on_progress)
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
        "compute": kind_of(base.model.device),
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
    known: Sequence[Fact] = (),
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
        general=judgement.general,
        scores=[score.to_json() for score in judgement.scores],
        summary=outcome_summary(records, plan, training, judgement, known),
        created_at=created_at,
    )


def outcome_summary(
    records: Sequence[Supervision],
    plan: Plan,
    training: dict[str, Any],
    judgement: Judgement,
    known: Sequence[Fact] = (),
) -> dict[str, Any]:
    """Return how supervision and training went, in figures, what kinds of wrong answers there were, and
    what the gate says if there is one.

    Args:
        known: Facts that were left out, see `mixsd.known`.
    """
    told: dict[str, Any] = {
        "confidence": plan.evaluation.confidence,
        "supervision": summary(records),
        "training": training,
        "mistakes": judgement.mistakes,
    }
    if plan.training.known_facts == "skip":
        told["known"] = saved(known, records, plan)
    return told if judgement.gate is None else {**told, "gate": judgement.gate.to_json()}


def _versions() -> dict[str, str]:
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
