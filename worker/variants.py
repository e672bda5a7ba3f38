"""The variants of a job while they are made: what each is, and what came of it so far."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.jobs.models import Job
from app.jobs.states import Phase
from app.jobs.variants import variants_of
from mixsd import run
from mixsd.config import MixConfig, Plan
from mixsd.errors import NoSupervisionError
from mixsd.evaluation.judge import Judgement
from mixsd.generation import shared_settings
from mixsd.progress import Progress
from mixsd.recommendation import Candidate, recommend
from mixsd.supervision import Supervision
from worker.control import Control
from worker.translate import plan_of


@dataclass(slots=True, eq=False)
class Variant:
    """One way in which a job teaches its facts.

    Attributes:
        supervised_by: The number of the first variant that is trained on the same texts.
        folder: Its own, of this attempt.
        records: The texts.
        weights: Names and digests of the files of the trained adapter, which lie in `adapter` as well.
        training: What training amounted to.
    """

    number: int
    label: str
    method_type: str
    plan: Plan
    supervised_by: int
    folder: Path
    records: list[Supervision] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    judgement: Judgement | None = None

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def judged(self) -> Judgement:
        assert self.judgement is not None, "it was not evaluated yet"  # noqa: S101  a bug
        return self.judgement


def variants_for(job: Job, folder: Path, *, checkpoint_seconds: float) -> list[Variant]:
    """Return what a job asks for, with nothing done yet.

    Raises:
        ConfigError: A value is out of bounds. The API refuses those, so this job is older than they.
    """
    return [
        Variant(
            number=variant.number,
            label=variant.label,
            method_type=variant.method_type,
            plan=plan_of(job, variant.method, checkpoint_seconds=checkpoint_seconds),
            supervised_by=variant.supervised_by,
            folder=folder / f"variant-{variant.number}",
        )
        for variant in variants_of(job.method)
    ]


def generated_together(variants: Iterable[Variant]) -> list[list[Variant]]:
    """Part variants by the runs in which their texts are made: mixed ones that differ in `lam` share one."""
    runs: dict[Any, list[Variant]] = {}
    for variant in variants:
        method = variant.plan.method
        shared = shared_settings(method) if isinstance(method, MixConfig) else variant.number
        runs.setdefault(shared, []).append(variant)
    return list(runs.values())


def supervised(variants: Sequence[Variant], control: Control, *, kept: Collection[str] = ()) -> list[Variant]:
    """Return the variants that there is something to train on for, and tell of the others.

    Facts that are only to be `kept` are nothing by themselves.

    Raises:
        NoSupervisionError: There is none.
    """
    able = [
        variant
        for variant in variants
        if any(record.trainable and record.fact_key not in kept for record in variant.records)
    ]
    if not able:
        raise NoSupervisionError(
            f"no fact got a text to train on ({_reasons(variants)}): raise `max_attempts` or "
            "`max_new_tokens`, lower `lam`, shorten facts that are too long, or set `fallback_to_answer`"
        )
    for variant in variants:
        if variant not in able:
            said = f"{variant.label} makes no adapter: no fact got a text to train on ({_reasons([variant])})"
            control.warning(said, variant=variant.number)
    return able


def _reasons(variants: Sequence[Variant]) -> str:
    """Count why texts of variants were rejected."""
    records = {id(record): record for variant in variants for record in variant.records}
    reasons = Counter(record.reason or "unknown" for record in records.values())
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def frontier_of(variants: Sequence[Variant]) -> dict[str, Any]:
    """Compare variants that were evaluated; see `mixsd.recommendation`."""
    candidates = [
        Candidate(
            variant.number,
            variant.label,
            variant.judged.scores,
            str(variant.judged.gate.status) if variant.judged.gate else None,
        )
        for variant in variants
    ]
    return recommend(candidates, variants[0].plan.evaluation.gate)


@dataclass(slots=True)
class Share:
    """The part of one variant in a phase that all of them are in: where it begins, and the whole.

    `sizes` may change as variants turn out to take less than was planned.
    """

    sizes: list[int]
    place: int
    unit: str


class Reporter:
    """Passes progress of the library on to the job's row."""

    def __init__(self, control: Control, phase: Phase, share: Share | None = None) -> None:
        """Report on a phase.

        Args:
            share: Left out, the library's figures are those of the phase.
        """
        self._control = control
        self._phase = phase
        self._share = share

    def __call__(self, progress: Progress, /) -> None:
        self._control.metrics(self._phase, progress.done, progress.metrics)
        share = self._share
        if share is None or len(share.sizes) == 1:
            self._control.progress(self._phase, progress.done, progress.total, progress.unit)
            return
        before = sum(share.sizes[: share.place])
        done = progress.done if progress.unit == share.unit else 0  # it may speak of what comes before
        self._control.progress(self._phase, before + done, sum(share.sizes), share.unit)


def joined(digests: Sequence[str]) -> str:
    """Return one digest for several: of one, that one."""
    return digests[0] if len(digests) == 1 else run.digest_of(digests)
