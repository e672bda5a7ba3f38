"""Runs of the library alone: facts in, a folder out. What was done already is not done again.

OUT/settings.json        what the run is of; another run cannot use the folder
OUT/supervision.jsonl    what the base model wrote, in the order of the facts
OUT/generation.json      how that was made: passes, tokens, guesses; of the last run that made any
OUT/baseline.json        what the base model answers
OUT/parent.json          what the parent answers, of a run that starts from an adapter
OUT/checkpoints/         of the training
OUT/weights/             the trained adapter, as peft saves it
OUT/adapter/             the adapter with everything that says what it is
OUT/report.json          counts, scores and verdicts
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mixsd import run
from mixsd.cache import SupervisionCache
from mixsd.config import Plan
from mixsd.durable import disk_is_full, whole_folder, write_whole
from mixsd.errors import ConfigError, DiskFullError
from mixsd.evaluation import gate
from mixsd.evaluation.adapters import measure_parent
from mixsd.evaluation.judge import Judgement
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.known import Parted, parted, without
from mixsd.living import Living, Parent, Start, start_of
from mixsd.models.load import Base
from mixsd.objectives.retiring import retired_records
from mixsd.progress import OnProgress
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from mixsd.training import checkpoint, lora
from mixsd.training.hooks import Hooks

_log = logging.getLogger(__name__)

SUPERVISION: Final = "supervision.jsonl"
_PARTIAL: Final = "supervision.partial.jsonl"
_SETTINGS: Final = "settings.json"
_GENERATION: Final = "generation.json"
_BASELINE: Final = "baseline.json"
_TRAINING: Final = "training.json"
_REPORT: Final = "report.json"
_PARENT: Final = "parent.json"

OnPhase = Callable[[str], OnProgress]
"""Takes the name of a phase that begins, gives what to tell its progress to."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One run in a folder. Its steps may be called one by one, each in a process of its own.

    Attributes:
        cache: Supervision of other runs, which spares this one what they have made already.
        parent: The adapter that it starts from, if not from the base model. See `mixsd.parent`.
    """

    out: Path
    base: Base
    facts: Sequence[Fact]
    plan: Plan
    on_phase: OnPhase
    cache: SupervisionCache | None = None
    parent: Parent | None = None

    @property
    def living(self) -> Living | None:
        return self.parent.living if self.parent else None

    def open(self) -> None:
        """Take the folder for this run, or find that it is this run's already.

        Raises:
            ConfigError: The folder holds another run, the base model or its device cannot be
                trained so, training cannot start from the parent, or the gate is on what these
                facts do not ask.
            NothingToLearnError: The facts are those of the parent.
        """
        gate.check(self.facts, self.plan.evaluation)
        run.check(self.base, self.plan, self.living)
        if self.parent is not None:
            self.parent.wordings()
        settings = {
            "base_model": run.base_digest(self.base),
            "facts": run.supervision_input(self.base, self.facts, self.plan),
            **self.plan.to_json(),
            **({"parent": self.living.to_json()} if self.living else {}),
        }
        path = self.out / _SETTINGS
        if not path.exists():
            _write(path, settings)
        elif run.decisive(json.loads(path.read_text())) != run.decisive(settings):
            raise ConfigError(f"{self.out} holds a run with other facts or settings: choose another --out")

    def parted(self) -> Parted:
        """Return which facts are taught. If known ones are left out, the base model is asked first.

        Raises:
            NothingToLearnError: It knows all of them.
        """
        if self.plan.training.known_facts == "train":
            return Parted(self.facts)
        if self.parent is None:
            return parted(self.facts, self.baseline(), self.plan)
        always = self.parent.always_taught()
        return parted(self.facts, self.baseline(), self.plan, always=always, needed=False)

    def generate(self) -> list[Supervision]:
        """Make the supervision that is missing, record by record."""
        partial, target = self.out / _PARTIAL, self.out / SUPERVISION
        if target.exists():
            return _read_records(target)
        parts = self.parted()
        kept = self._kept_texts(parts)
        records = _read_records(partial) if partial.exists() else []
        _rewrite(partial, records)  # drops a line that a crash cut off
        records += kept
        left = without(parts, {record.fact_key for record in kept})
        report = self.on_phase("generating")

        def add(made: Sequence[Supervision]) -> None:
            with partial.open("a", encoding="utf-8") as file:
                file.writelines(record.to_line() + "\n" for record in made)
            records.extend(made)

        done = {(record.fact_key, record.generation) for record in records}
        try:
            made = supervise(
                self.base,
                left.taught,
                self.plan,
                on_records=add,
                done=done,
                on_progress=report,
                cache=self.cache,
                beside=left.left_out,
            )
            if self.parent is not None:
                add(list(retired_records(self.base, self.parent.wordings(), self.plan, done=done)))
        except OSError as error:
            if disk_is_full(error):
                raise DiskFullError(f"no room left to write {partial}: free some space and retry") from error
            raise
        for warning in made.warnings():
            _log.warning(warning)
        _write(self.out / _GENERATION, made.to_json())
        ordered = run.in_order(records, self.facts, self.plan)
        _rewrite(target, ordered)
        partial.unlink()
        return ordered

    def _kept_texts(self, parts: Parted) -> list[Supervision]:
        """Return the parent's texts of facts that are as they were."""
        return self.parent.kept_texts(parts.taught, self.plan) if self.parent else []

    def parent_said(self) -> Measured | None:
        """Ask the parent what the base model is asked, the training questions alone."""
        path, living = self.out / _PARENT, self.living
        if living is None:
            return None
        if path.exists():
            return Measured.from_json(json.loads(path.read_text()))
        report = self.on_phase("parent")
        said = measure_parent(self.base, living, self.facts, self.plan.evaluation, on_progress=report)
        _write(path, said.to_json())
        return said

    def _start(self) -> Start | None:
        before = self.parent_said()
        if self.living is None or before is None:
            return None
        return start_of(self.living, self.facts, self.baseline().facts, before.facts, self.plan)

    def train(self) -> dict[str, Any]:
        """Train on the supervision; return what training amounted to."""
        if (self.out / _TRAINING).exists() and (self.out / "weights").exists():
            summary: dict[str, Any] = json.loads((self.out / _TRAINING).read_text())
            return summary
        records, start = self.generate(), self._start()
        folder = self.out / "checkpoints"
        folders = checkpoint.newest([path for path in folder.glob("checkpoint-*") if path.is_dir()])
        trained = run.train(
            self.base,
            self.facts,
            records,
            self.plan,
            work=folder,
            resume=folders,
            hooks=Hooks(on_progress=self.on_phase("training")),
            start=start,
        )
        with whole_folder(self.out / "weights", self.out / ".weights.partial") as draft:
            lora.save_adapter(trained.model, draft)
        lora.detach(trained.model)
        summary = run.training_summary(trained)
        _write(self.out / _TRAINING, summary)
        return summary

    def baseline(self) -> Measured:
        """Ask the base model."""
        path = self.out / _BASELINE
        if path.exists():
            return Measured.from_json(json.loads(path.read_text()))
        facts = self.living.asked(self.facts) if self.living else self.facts
        said = measure(self.base, facts, self.plan.evaluation, on_progress=self.on_phase("baseline"))
        _write(path, said.to_json())
        return said

    def evaluate(self) -> Judgement:
        """Compare the adapter with the base model, and pack it."""
        before, known = self.baseline(), self.parted().left_out
        training, records = self.train(), self.generate()
        judgement = run.evaluate(
            self.base,
            self.out / "weights",
            self.facts,
            records,
            before,
            self.plan,
            living=self.living,
            parent=self.parent_said(),
            on_progress=self.on_phase("evaluating"),
        )
        run.package(
            self.out / "adapter",
            base=self.base,
            adapter=self.out / "weights",
            facts=self.facts,
            records=records,
            plan=self.plan,
            training=training,
            judgement=judgement,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            known=known,
            living=self.living,
        )
        _write(
            self.out / _REPORT,
            {
                "counts": judgement.counts,
                "scores": [score.to_json() for score in judgement.scores],
                **run.outcome_summary(records, self.plan, training, judgement, known),
                "facts": judgement.results,
                "general": list(judgement.general),
                **({"retired": list(judgement.living.retired)} if judgement.living else {}),
            },
        )
        return judgement


def _write(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def _rewrite(path: Path, records: Sequence[Supervision]) -> None:
    write_whole(path, "".join(record.to_line() + "\n" for record in records).encode())


def _read_records(path: Path) -> list[Supervision]:
    """Read supervision; a last line that is not whole is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]  # it may have been cut within a character
    return [Supervision.from_json(json.loads(line)) for line in lines]
