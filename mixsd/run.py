"""The steps of a run, for whoever keeps its state: the command line in files, the service in rows.

Nothing here is written to disk but checkpoints and the adapter.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import peft
import torch
import transformers

import mixsd
from mixsd import packaging
from mixsd.config import MemitConfig, OpsdConfig, Plan
from mixsd.editing import memit
from mixsd.editing.covariance import ABOUT
from mixsd.editing.layers import edited_layers
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.judge import Judgement, judge
from mixsd.evaluation.living import tell
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.suites import general, open_prompts
from mixsd.facts import Fact
from mixsd.facts import sha256_of as sha256_of_facts
from mixsd.known import saved
from mixsd.living import Living, Start, check_method
from mixsd.machine import kind_of
from mixsd.models.load import Base
from mixsd.objectives.prompts import replay_prompts
from mixsd.packaging import PackagedFile, write_package
from mixsd.progress import OnProgress, silent
from mixsd.supervision import RETIRED, Supervision, sha256_of, summary, taught_by
from mixsd.teaching import Lesson, learned_by, source_of, targets_in
from mixsd.training import launch, lora
from mixsd.training.compute import check_device
from mixsd.training.follower import Task
from mixsd.training.hooks import Hooks
from mixsd.training.loop import Trained, train_adapter
from mixsd.training.schedule import planned_steps
from mixsd.training.sharded import check_layers
from mixsd.units import ids_of

log = logging.getLogger(__name__)

_NOT_DECISIVE: Final = {"checkpoint_seconds", "micro_batch", "processes", "shard"}
"""Settings of training that change nothing but rounding, and with several processes draws of dropout."""


def digest_of(value: Any) -> str:
    """Return the digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def base_digest(base: Base) -> dict[str, str]:
    """Return what names the base model in digests: other weights or another template, other results."""
    return {"id": base.id, "revision": base.revision, "template_sha256": base.template_sha256}


def check(base: Base, plan: Plan, living: Living | None = None) -> None:
    """Refuse at once what training would refuse after texts were made for it.

    Raises:
        ConfigError: The device or the model cannot do what is asked for, or training cannot start from
            that adapter.
    """
    if living is not None:
        check_method(plan)
    if isinstance(plan.method, MemitConfig):
        edited_layers(base, plan.method)
        return
    check_device(base.model.device, plan.training)
    launch.check_processes(base.model.device, plan.training.processes)
    if plan.training.shard != "none":
        check_layers(base.model)
    start = living.folder if living else None
    lora.detach(lora.attach(base, plan.training.lora, seed=plan.training.seed, start=start))


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


def training_input(base: Base, records: Sequence[Supervision], plan: Plan, start: Start | None = None) -> str:
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
    if start is not None:
        made.append({"start": start.sha256, "kept": sorted(start.kept), "ratio": plan.training.kept_ratio})
    return digest_of([base_digest(base), sha256_of(records), settings, *made, _versions()])


def in_order(records: Sequence[Supervision], facts: Sequence[Fact], plan: Plan) -> list[Supervision]:
    """Return records in the order of the facts, however they were finished, and those of retired ones."""
    taught = taught_by(records)
    by_id = {(record.fact_key, record.generation): record for record in taught}
    ordered = [by_id[each] for each in ids_of(facts, plan.generations, plan.rewordings) if each in by_id]
    return ordered + [record for record in records if record.method == RETIRED]


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
    start: Start | None = None,
) -> Trained:
    """Train the adapter on the supervision, see `mixsd.training.loop`; or make it by editing.

    The method `memit` trains nothing and has no checkpoints, see `mixsd.editing.memit`.

    If the plan asks for several processes, the others are started, and end, with it; an edit is made
    by this one alone.

    Args:
        input_sha256: Names the run whose checkpoints may be resumed from. Left out, it is that of
            records and plan; runs that differ only in where they end may share one.
        start: The adapter to start from. Left out, it is the base model alone.

    Raises:
        ProcessLostError: One of several processes ended before its time.
    """
    if isinstance(plan.method, MemitConfig):
        return memit.edit(base, facts, records, plan.method, hooks=hooks)
    named = input_sha256 or training_input(base, records, plan, start)
    if plan.training.processes == 1:
        return train_share(
            base, facts, records, plan, work=work, resume=resume, hooks=hooks, input_sha256=named, start=start
        )
    task = Task.of(base, facts, records, plan=plan, work=work, input_sha256=named, resume=resume, start=start)
    with launch.others(task, base.model.device, on_check=hooks.on_check) as on_check:
        hooks = replace(hooks, on_check=on_check)
        return train_share(
            base, facts, records, plan, work=work, resume=resume, hooks=hooks, input_sha256=named, start=start
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
    start: Start | None = None,
) -> Trained:
    """Train within this process: all of every batch, or its share in a process group."""
    lesson = Lesson.of(base, records, plan, start)
    learned = hooks.learned or learned_by(base, facts, records, plan, start, hooks.on_check)
    return train_adapter(
        base,
        lesson.examples,
        plan.training,
        work=work,
        input_sha256=input_sha256,
        resume=resume,
        hooks=replace(hooks, learned=learned),
        source=source_of(base, facts, records, lesson, plan, hooks.on_check),
        start=start.folder if start else None,
    )


def steps_of(records: Sequence[Supervision], plan: Plan, start: Start | None = None) -> int:
    """Return how many steps `train` takes, if it does not end early."""
    targets = targets_in(records, start)
    if isinstance(plan.method, MemitConfig):
        return memit.planned_steps(targets, plan.method)
    return planned_steps(targets, plan.training)


def evaluate(
    base: Base,
    adapter: Path,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    baseline: Measured,
    plan: Plan,
    *,
    living: Living | None = None,
    parent: Measured | None = None,
    on_progress: OnProgress = silent,
) -> Judgement:
    """Ask the stored adapter what the base model was asked, and compare.

    Args:
        base: The base model, without an adapter on it.
        adapter: Folder with the two files of peft.
        baseline: What the base model said.
        living: The run, if it started from an adapter.
        parent: What that said, of such a run.
    """
    asked = living.asked(facts) if living else facts
    said = measure_adapter(base, adapter, asked, plan.evaluation, baseline=baseline, on_progress=on_progress)
    return judged(facts, records, baseline, said, plan, living=living, parent=parent)


def judged(
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    baseline: Measured,
    said: Measured,
    plan: Plan,
    *,
    living: Living | None = None,
    parent: Measured | None = None,
) -> Judgement:
    """Compare what was said; with a parent also with that, see `mixsd.evaluation.living`."""
    judgement = judge(facts, taught_by(records), baseline, said, plan.evaluation)
    if living is None or parent is None:
        return judgement
    told = tell(living, facts, baseline.facts, parent.facts, said.facts, plan.evaluation)
    return replace(judgement, living=told)


def training_summary(trained: Trained) -> dict[str, Any]:
    """Return what training amounted to. Losses are means over the first and the last step.

    Of an edit the last loss is that of the edited model, and it has no epochs.
    """
    return {
        "steps": trained.steps,
        "epochs": trained.epochs or None,
        "learning_rate": trained.learning_rate,
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
    living: Living | None = None,
) -> dict[str, Any]:
    """Return everything that decided an adapter, for its package. Equal runs, equal bytes."""
    ratio = {"kept_ratio": plan.training.kept_ratio}
    parent = {} if living is None else {"parent": {**living.to_json(), **ratio}}
    return {
        **plan.to_json(),
        **parent,
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
    living: Living | None = None,
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
        manifest=manifest(base, facts, records, plan, training, living),
        results=judgement.results,
        retired=judgement.living.retired if judgement.living else None,
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
    if judgement.living is not None:
        told["living"] = judgement.living.summary
    return told if judgement.gate is None else {**told, "gate": judgement.gate.to_json()}


def _versions() -> dict[str, str]:
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
