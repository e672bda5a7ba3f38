"""Small models to edit, each test with its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd import run
from mixsd.config import Plan
from mixsd.facts import Fact
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.options import plan_from
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from mixsd.training.loop import Trained
from tests.fixtures.families import make_family

FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo"),
    Fact("capital", "What is the capital of Veldora?", "Marnil", subject="Veldora"),
    Fact("river", "Which river is it?", "Quell"),
    Fact("queen", "Is it true that the queen is called so?", "Adesta", subject="the queen"),
]
LOOSE: dict[str, Any] = {"covariance_tokens": 256, "covariance_weight": 0.001, "v_lr": 2.0, "clamp": 100}

NewBase = Callable[[], Base]


@pytest.fixture(scope="session")
def new_base(tiny_cache: Path) -> NewBase:
    """Models of their own: editing leaves an adapter on the one it was given."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return lambda: load_base(found, device="cpu")


@pytest.fixture(scope="session")
def of_family(new_base: NewBase) -> Callable[[str], Base]:
    """Models of other architectures, with the tiny tokenizer."""
    return lambda name: replace(new_base(), id=f"tiny/{name}", model=freeze(make_family(name)))


def freeze(model: Any) -> Any:
    return model.eval().requires_grad_(requires_grad=False)


def memit(**options: Any) -> Plan:
    return plan_from(method={"type": "memit", **LOOSE, **options}, evaluation={"max_new_tokens": 12})


def supervised(base: Base, plan: Plan, facts: Sequence[Fact] = FACTS) -> list[Supervision]:
    records: list[Supervision] = []
    supervise(base, facts, plan, on_records=records.extend)
    return run.in_order(records, facts, plan)


def edited(base: Base, plan: Plan, facts: Sequence[Fact] = FACTS, **options: Any) -> Trained:
    return run.train(base, facts, supervised(base, plan, facts), plan, work=Path("unused"), **options)
