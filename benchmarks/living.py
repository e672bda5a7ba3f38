"""Three versions of a fact set, one trained from another: `python -m benchmarks.living`.

Version 2 adds three facts and retires one, version 3 changes one and adds two. Each is trained from
the adapter of the version before, and version 3 from the base model as well. Prints JSON: what came
of the facts, steps, seconds, and the tokens that the model read in each phase, whatever for.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from mixsd.config import Plan
from mixsd.facts import Fact
from mixsd.inject import SUPERVISION, Workspace
from mixsd.intake.reading import read_facts
from mixsd.models.load import Base, load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.options import plan_from
from mixsd.parent import parent_of, texts_beside
from mixsd.progress import OnProgress, silent

EXAMPLES: Final = Path(__file__).parents[1] / "examples" / "facts.jsonl"
CHANGED: Final = {"tessport-mayor": "Una Felden"}
"""New answers of facts in version 3."""


def versions(facts: Sequence[Fact]) -> list[list[Fact]]:
    """Return three versions of a set, of the first eleven facts."""
    first = list(facts[:6])
    second = [*first[:2], *first[3:], *facts[6:9]]
    changed = [
        replace(fact, answer=CHANGED[fact.key], aliases=(), context="", object="", probes=())
        if fact.key in CHANGED
        else fact
        for fact in second
    ]
    return [first, second, [*changed, *facts[9:11]]]


@dataclass
class Meter:
    """Counts what a model reads, by phase."""

    phase: str = "loading"

    def __post_init__(self) -> None:
        self.tokens: Counter[str] = Counter()

    def on(self, base: Base) -> None:
        def count(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], __: Any) -> None:
            self.tokens[self.phase] += inputs[0].numel()

        base.model.get_input_embeddings().register_forward_hook(count)

    def enter(self, phase: str) -> OnProgress:
        self.phase = phase
        return silent


def run_one(
    out: Path, base: Base, facts: list[Fact], plan: Plan, before: tuple[Path, list[Fact]] | None
) -> dict[str, Any]:
    """Train a version, and say what came of it."""
    meter = Meter()
    meter.on(base)
    parent = None
    if before is not None:
        folder, previous = before
        parent = parent_of(folder, base, facts, previous, texts_beside(folder, SUPERVISION))
    work = Workspace(out, base, facts, plan, meter.enter, None, parent)
    work.open()
    began = time.perf_counter()
    judgement = work.evaluate()
    report = json.loads((out / "report.json").read_text())
    known = sum(row["asked"][0]["adapter_correct"] is True for row in judgement.results)
    return {
        "facts": len(facts),
        "known": known,
        "scores": {score.suite: [score.base, score.adapter] for score in judgement.scores},
        "steps": report["training"]["steps"],
        "seconds": round(time.perf_counter() - began, 1),
        "tokens_read": {**meter.tokens, "all": meter.tokens.total()},
        "living": report.get("living"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    use_threads(options.threads)
    sets = versions(read_facts(EXAMPLES))
    plan = plan_from(**json.loads(options.settings))
    found = pull(options.model, cache=options.cache or default_cache())
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        before = None
        for number, facts in enumerate(sets, 1):
            out = Path(place) / f"v{number}"
            told[f"v{number}"] = run_one(out, load_base(found, device="cpu"), facts, plan, before)
            print(json.dumps({f"v{number}": told[f"v{number}"]}), file=sys.stderr, flush=True)
            before = out / "adapter", facts
        scratch = run_one(Path(place) / "scratch", load_base(found, device="cpu"), sets[-1], plan, None)
        told["v3 from the base model"] = scratch
    print(json.dumps(told, indent=2))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.living", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="base model")
    parser.add_argument("--cache", type=Path, help="where base models lie")
    parser.add_argument("--threads", type=int, default=0, help="0 takes one for each core")
    parser.add_argument("--settings", default="{}", help="JSON with method, training and evaluation")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
