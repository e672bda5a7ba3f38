"""SFT against MixSD on the same facts, with the same number of steps: what is learned, what is lost.

    python -m benchmarks.methods [--facts FILE] [--model ID] [--seeds 0 1] [--steps 48]

Prints one JSON object with a row for each method and seed, and each row as it is made on stderr.
The base model is measured once.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mixsd import run
from mixsd.config import Plan, plan_from
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact, read_facts
from mixsd.models.load import Base, load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.supervision import Supervision, summary
from mixsd.training import lora

METHODS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sft": {"type": "sft"},
    "mixsd lam 0": {"type": "mixsd", "lam": 0.0, "lam_backoff": []},
    "mixsd lam 0.3": {"type": "mixsd", "lam": 0.3, "lam_backoff": []},
    "mixsd lam 0.5": {"type": "mixsd", "lam": 0.5, "lam_backoff": []},
    "mixsd lam 0.7": {"type": "mixsd", "lam": 0.7, "lam_backoff": []},
    "mixsd lam 0.3, guarded": {"type": "mixsd", "lam": 0.3, "lam_backoff": [], "answer_guard": True},
    "mixsd lam 0.5, guarded": {"type": "mixsd", "lam": 0.5, "lam_backoff": [], "answer_guard": True},
    "mixsd lam 0.7, guarded": {"type": "mixsd", "lam": 0.7, "lam_backoff": [], "answer_guard": True},
    "mixsd lam 0.3, falling": {"type": "mixsd", "lam": 0.3},
}

DEFAULTS: Final = ["sft", "mixsd lam 0", "mixsd lam 0.3", "mixsd lam 0.3, falling"]


def main() -> None:
    options = _parse()
    facts = read_facts(options.facts)
    use_threads(options.threads)
    base = load_base(pull(options.model, cache=options.cache or default_cache()))
    _say("base model")
    baseline = measure(base, facts, Plan().evaluation)
    rows = [
        _row(base, facts, baseline, name, seed, options.steps)
        for seed in options.seeds
        for name in options.methods
    ]
    print(json.dumps({"model": base.id, "facts": len(facts), "steps": options.steps, "rows": rows}, indent=2))


def _row(
    base: Base, facts: list[Fact], baseline: Measured, name: str, seed: int, steps: int
) -> dict[str, Any]:
    _say(f"{name}, seed {seed}")
    training = {"seed": seed, "epochs": 1000, "max_steps": steps, "stop_when_learned": False}
    plan = plan_from(method=dict(METHODS[name]) | {"seed": seed}, training=training)
    plan = replace(plan, training=replace(plan.training, checkpoint_seconds=86_400))
    records: list[Supervision] = []
    began = time.monotonic()
    run.supervise(base, facts, plan, on_records=records.extend)
    records = run.in_order(records, facts, plan)
    generated = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trained = run.train(base, facts, records, plan, work=Path(folder))
        lora.save_adapter(trained.model, Path(folder))
        lora.detach(trained.model)
        ended = time.monotonic()
        judgement = run.evaluate(base, Path(folder), facts, records, baseline, plan)
    made = summary(records)
    supervised = {record.fact_key for record in records if record.trainable}
    learned = sum(
        bool(verdict.asked[0]["adapter_correct"])
        for verdict in judgement.verdicts
        if verdict.fact.key in supervised
    )
    row = {
        "method": name,
        "seed": seed,
        "supervised": len(supervised),
        "learned_of_supervised": learned,
        "attempts": made["attempts"],
        "accepted": len([record for record in records if record.verified]) / max(1, made["attempts"] or 0),
        "mean_lam": made["mean_lam"],
        "nats_per_token": made["nats_per_token"],
        "steps": trained.steps,
        "seconds": {"generating": round(generated - began, 1), "training": round(ended - generated, 1)},
        "scores": {score.suite: score.to_json() for score in judgement.scores},
    }
    _say(json.dumps(row))
    return row


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--facts", type=Path, default=Path("examples/facts.jsonl"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=DEFAULTS)
    return parser.parse_args()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
