"""Makes the supervision of a run, by whatever method it has, and takes from the cache what is there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixsd.cache import SupervisionCache
from mixsd.config import MemitConfig, MixConfig, OpsdConfig, Plan
from mixsd.editing import memit
from mixsd.facts import Fact
from mixsd.generation import plain
from mixsd.mixing import Ids, OnRecords, OnRecordsOf, mix
from mixsd.models.load import Base
from mixsd.objectives import opsd
from mixsd.progress import OnProgress, silent
from mixsd.rewording.writing import reworded


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
    beside: Sequence[Fact] = (),
) -> Supervised:
    """Make the supervision that is missing, by the plan's method. See `mixsd.generation`.

    Args:
        on_records: Given records as they are finished, in any order.
        cache: Records that it holds are handed on first and not made; those that are made are put
            into it. Methods that take the plain answers make their records too fast to need it.
        beside: Facts that are evaluated with these and not taught: what is asked of them is no rewording.
    """
    if isinstance(plan.method, MixConfig):
        return supervise_alike(
            base,
            facts,
            [plan.method],
            on_records=lambda _, made: on_records(made),
            done=[done],
            on_progress=on_progress,
            cache=cache,
            beside=beside,
        )
    worded = reworded(base, facts, plan.method, beside=beside, on_progress=on_progress)
    facts = worded.facts
    if isinstance(plan.method, OpsdConfig):
        for record in opsd.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    if isinstance(plan.method, MemitConfig):
        for record in memit.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    for record in plain(
        base,
        facts,
        prompt_style=plan.method.prompt_style,
        seed=plan.method.seed,
        natural=plan.method.target == "natural",
        done=done,
        on_progress=on_progress,
    ):
        on_records([record])
    return Supervised(rewordings=worded.report)


def supervise_alike(
    base: Base,
    facts: Sequence[Fact],
    variants: Sequence[MixConfig],
    *,
    on_records: OnRecordsOf,
    done: Sequence[Ids],
    on_progress: OnProgress = silent,
    cache: SupervisionCache | None = None,
    beside: Sequence[Fact] = (),
) -> Supervised:
    """Make the supervision of several settings in one run: of each, what it is alone.

    Args:
        variants: They may differ in what `mixsd.generation.Generation` allows, such as `lam`.
        done: For each of them, what exists already.
        beside: As `supervise` has it.
    """
    worded = reworded(base, facts, variants[0], beside=beside, on_progress=on_progress)
    reused, report = mix(
        base,
        worded.facts,
        variants,
        on_records=on_records,
        done=done,
        on_progress=on_progress,
        cache=cache,
    )
    return Supervised(reused, report, worded.report)
