"""One row of a comparison: a method with a seed, from the facts to the figures."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from peft import PeftModel

from mixsd import run
from mixsd.cache import SupervisionCache
from mixsd.compare.in_context import judged_in_context
from mixsd.compare.methods import Match, Method
from mixsd.config import EvalConfig, Plan
from mixsd.durable import write_whole
from mixsd.errors import ConfigError
from mixsd.evaluation.judge import Judgement
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.recall import answered
from mixsd.evaluation.statistics import compare
from mixsd.facts import Fact
from mixsd.inject import OnPhase
from mixsd.known import parted
from mixsd.models.load import Base
from mixsd.supervise import supervise
from mixsd.supervision import Supervision, summary
from mixsd.training import checkpoint, lora
from mixsd.training.hooks import Hooks
from mixsd.training.loop import Trained

Row = dict[str, Any]

ADAPTER: Final = "weights"
SUPERVISION: Final = "supervision.jsonl"
"""What a row leaves in its folder: its adapter, as peft saves it, and what it was trained on."""
CHECKS: Final = "checks.json"
"""What was measured on the way of a run that is matched by recall: pairs of step and recall."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all rows of a comparison share.

    Attributes:
        facts: What is taught.
        baseline: What the base model answers.
        match: What the methods have in common.
        work: Folder for checkpoints. What lies there of the same row is gone on with.
        on_phase: Told of each phase.
        cache: Supervision of other runs.
    """

    facts: Sequence[Fact]
    baseline: Measured
    match: Match
    work: Path
    on_phase: OnPhase
    cache: SupervisionCache | None = None


@dataclass(slots=True)
class _Clock:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = round(self.seconds.get(what, 0.0) + time.monotonic() - began, 2)


def row_of(base: Base, method: Method, plan: Plan, bench: Bench) -> Row:
    """Make a row.

    Args:
        base: The base model, as it was loaded: to measure an adapter moves its weights in the last
            bits, so that rows are equal to the byte only if each has a model of its own.
        method: What is compared.
        plan: That of `method` with the row's seed.
        bench: The rest.

    Raises:
        MixsdError: It cannot be made.
    """
    return _made_row(base, method, plan, bench) if method.makes_adapter else _shown_row(base, plan, bench)


def _shown_row(base: Base, plan: Plan, bench: Bench) -> Row:
    """Make the row of a model that is shown each fact. It has no seed and no steps."""
    clock = _Clock()
    with clock("evaluating"):
        judgement = judged_in_context(
            base, bench.facts, plan.evaluation, bench.baseline, on_progress=bench.on_phase("evaluating")
        )
    every = [fact.key for fact in bench.facts]
    return {"steps": None, "seconds": clock.seconds, **_figures(judgement, every, plan.evaluation)}


def _made_row(base: Base, method: Method, plan: Plan, bench: Bench) -> Row:
    run.check(base, plan)
    clock = _Clock()
    parts = parted(bench.facts, bench.baseline, plan)
    records: list[Supervision] = []
    with clock("generating"):
        how = supervise(
            base,
            parts.taught,
            plan,
            on_records=records.extend,
            on_progress=bench.on_phase("generating"),
            cache=bench.cache,
            beside=parts.left_out,
        )
    records = run.in_order(records, bench.facts, plan)
    training = _Training(base, records, plan, bench, clock)
    trained = training.run() if method.is_trained else training.edit()
    with clock("evaluating"):
        reworded = _recall_of_rewordings(base, trained.model, records, bench.facts, plan.evaluation)
    lines = "".join(record.to_line() + "\n" for record in records)
    write_whole(bench.work / SUPERVISION, lines.encode())
    adapter = bench.work / ADAPTER
    shutil.rmtree(adapter, ignore_errors=True)
    adapter.mkdir(parents=True)
    lora.save_adapter(trained.model, adapter)
    lora.detach(trained.model)
    with clock("evaluating"):
        judgement = run.evaluate(
            base,
            adapter,
            bench.facts,
            records,
            bench.baseline,
            plan,
            on_progress=bench.on_phase("evaluating"),
        )
    supervised = [record.fact_key for record in records if record.trainable]
    return {
        "steps": trained.steps if method.is_trained else None,
        "reached": training.reached,
        "checks": training.checks,
        "training": run.training_summary(trained),
        "supervision": summary(records) | {"targets": len(supervised)},
        "rewordings": dict(how.rewordings) | {"trained": reworded},
        "seconds": clock.seconds,
        "warnings": list(how.warnings()),
        **_figures(judgement, supervised, plan.evaluation),
    }


class _Training:
    """Trains to the budget, or piece by piece until recall is what it should be."""

    def __init__(
        self, base: Base, records: Sequence[Supervision], plan: Plan, bench: Bench, clock: _Clock
    ) -> None:
        self._base = base
        self._records = records
        self._plan = plan
        self._bench = bench
        self._clock = clock
        self._input = run.training_input(base, records, plan)
        self.checks: list[list[float]] = self._known_checks()
        self.reached: bool | None = None

    def run(self) -> Trained:
        """Return the trained model.

        Raises:
            ConfigError: An epoch is so short that there are fewer steps than asked for.
        """
        match = self._bench.match
        if match.by == "steps":
            trained = self._train_to(match.steps)
            if trained.steps < match.steps:
                lora.detach(trained.model)
                raise ConfigError(
                    f"steps {match.steps}: so few texts end after {trained.steps}; lower steps or batch_size"
                )
            return trained
        known = {int(step): recall for step, recall in self.checks}
        for end in range(match.every, match.steps, match.every):
            if known.get(end, match.recall) < match.recall:
                continue  # this was measured before the process was stopped, and training went on
            trained = self._checked(end)
            if self.reached:
                return trained
            lora.detach(trained.model)
        return self._checked(match.steps)

    def edit(self) -> Trained:
        """Return the edited model. That takes no steps of a budget, and reaches what it reaches."""
        return self._train_to(0)

    def _checked(self, end: int) -> Trained:
        """Train up to a step and measure recall there."""
        trained = self._train_to(end)
        recall = self._recall(trained.model)
        self._note(trained.steps, recall)
        self.reached = recall >= self._bench.match.recall
        return trained

    def _train_to(self, end: int) -> Trained:
        """Train up to a step, from the newest checkpoint on; another end makes no other run."""
        work = self._bench.work
        folders = [path for path in work.glob("checkpoint-*") if path.is_dir()]
        part = replace(self._plan, training=replace(self._plan.training, max_steps=end))
        with self._clock("training"):
            return run.train(
                self._base,
                self._bench.facts,
                self._records,
                part,
                work=work,
                resume=checkpoint.newest(folders),
                hooks=Hooks(on_progress=self._bench.on_phase("training")),
                input_sha256=self._input,
            )

    def _recall(self, model: PeftModel) -> float:
        """Return the share of the training questions that a model answers."""
        facts = self._bench.facts
        with self._clock("checking"):
            model.eval()
            pairs = [(fact.question, fact) for fact in facts]
            return sum(answered(self._base, model, pairs, self._plan.evaluation)) / len(facts)

    def _note(self, step: int, recall: float) -> None:
        self.checks = [[at, share] for at, share in self.checks if at != step] + [[step, recall]]
        body = {"input_sha256": self._input, "checks": self.checks}
        write_whole(self._bench.work / CHECKS, json.dumps(body).encode())

    def _known_checks(self) -> list[list[float]]:
        """Return what was measured before this process, if it was of this run."""
        try:
            body = json.loads((self._bench.work / CHECKS).read_text())
            checks: list[list[float]] = body["checks"] if body["input_sha256"] == self._input else []
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return checks


def _recall_of_rewordings(
    base: Base,
    model: PeftModel,
    records: Sequence[Supervision],
    facts: Sequence[Fact],
    config: EvalConfig,
) -> dict[str, int]:
    """Ask each wording that was trained on beside the facts' own questions."""
    by_key = {fact.key: fact for fact in facts}
    trained = {(record.question, record.fact_key): None for record in records if record.trainable}
    pairs = [(question, by_key[key]) for question, key in trained if question != by_key[key].question]
    model.eval()
    return {"n": len(pairs), "right": sum(answered(base, model, pairs, config)) if pairs else 0}


def _figures(judgement: Judgement, supervised: Sequence[str], config: EvalConfig) -> Row:
    """Return what the verdicts and scores come to."""
    taught = set(supervised)
    rows = [verdict.asked[0] for verdict in judgement.verdicts if verdict.fact.key in taught]
    rows = [row for row in rows if row["base_correct"] is not None]
    of_supervised = compare(
        "recall_supervised",
        "accuracy",
        [float(row["base_correct"]) for row in rows],
        [float(row["adapter_correct"]) for row in rows],
        resamples=config.bootstrap,
        confidence=config.confidence,
    )
    scores = [*judgement.scores, *([of_supervised] if of_supervised.n else [])]
    return {
        "facts": len(judgement.verdicts),
        "supervised": len(taught),
        "counts": judgement.counts,
        "mistakes": judgement.mistakes,
        "scores": {score.suite: score.to_json() for score in scores},
    }
