"""A small comparison on the tiny model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd.compare.comparison import FILE, Comparison, cells_of
from mixsd.compare.methods import Common, Match, methods_of
from mixsd.facts import Fact, Probe
from mixsd.models.load import load_base
from mixsd.models.registry import find
from mixsd.progress import silent

MIX = (
    'mix={"method": {"type": "mixsd", "rewordings": 0, "max_attempts": 2, "max_new_tokens": 6, '
    '"fallback_to_answer": true}, "training": {"retention": {"type": "none"}}}'
)
FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo", paraphrases=("The mayor is who?",)),
    Fact("river", "Which river is it?", "Quell", probes=(Probe("Where is it?", "Ebra"),)),
    Fact("queen", "Who is the queen?", "Adesta"),
]
COMMON = Common(
    training={"rank": 8, "alpha": 16, "learning_rate": 2e-2, "batch_size": 4},
    evaluation={"max_new_tokens": 12, "general": False, "bootstrap": 100},
)
STEPS = Match(steps=6)
RECALL = Match("recall", steps=40, recall=1.0, every=2)

NewComparison = Callable[..., Comparison]


class Killed(Exception):  # noqa: N818  it stands for a crash
    """What no code catches."""


def rows_in(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / FILE).read_text())["rows"]
    return rows


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="package")
def new(tiny_cache: Path) -> NewComparison:
    """Makes comparisons, each row with a model of its own as in a command."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None

    def make(
        out: Path,
        methods: Sequence[str] = ("sft", MIX, "in_context"),
        seeds: Sequence[int] = (0, 1),
        match: Match = STEPS,
        common: Common = COMMON,
        **changes: Any,
    ) -> Comparison:
        comparison = Comparison(
            out=out,
            load=lambda: load_base(found, device="cpu"),
            facts=FACTS,
            cells=cells_of(methods_of(methods), seeds, match, common),
            match=match,
            on_phase=lambda _: silent,
        )
        return replace(comparison, **changes)

    return make
