"""Folders of runs on the tiny model: one of a whole run, one of a comparison that kept its rows."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd.analysis.making import Settings, Work
from mixsd.analysis.runs import Run, find_runs
from mixsd.compare.comparison import Comparison, cells_of
from mixsd.compare.methods import Common, Match, methods_of
from mixsd.config import EvalConfig, LoraConfig, MixConfig, Plan, TrainConfig
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk, find
from mixsd.progress import silent

FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo", paraphrases=("The mayor is who?",)),
    Fact("river", "Which <b>river</b> is it?", "Quell $x$ 日本"),
    Fact("queen", "Who is the queen?", "Adesta"),
]
PLAN = Plan(
    method=MixConfig(
        rewordings=0,
        max_attempts=2,
        max_new_tokens=8,
        lam=0.5,
        lam_backoff=(),
        temperature=1.0,
        generations=2,
        fallback_to_answer=False,
    ),
    training=TrainConfig(lora=LoraConfig(rank=3, alpha=5), learning_rate=1e-2, epochs=3, min_steps=0),
    evaluation=EvalConfig(max_new_tokens=8, general=False, bootstrap=100),
)


@pytest.fixture(scope="package")
def on_disk(tiny_cache: Path) -> OnDisk:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return found


@pytest.fixture(scope="package")
def wide_base(on_disk: OnDisk) -> Base:
    """The tiny model in float64."""
    base = load_base(on_disk, device="cpu")
    base.model.double()
    return base


@pytest.fixture(scope="package")
def injected(on_disk: OnDisk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, in which all texts count as verified. Not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "injected"
    workspace = Workspace(out, load_base(on_disk, device="cpu"), FACTS, PLAN, lambda _: silent)
    workspace.open()
    made = [replace(record, verified=True, reason=None) for record in workspace.generate()]
    (out / "supervision.jsonl").write_text("".join(record.to_line() + "\n" for record in made))
    workspace.evaluate()
    return out


@pytest.fixture(scope="package")
def compared(on_disk: OnDisk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with rows that were kept. Not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "compared"
    settings = {"rewordings": 0, "max_attempts": 1, "max_new_tokens": 4, "fallback_to_answer": True}
    mixed = json.dumps({"method": {"type": "mixsd", **settings}, "training": {"retention": {"type": "none"}}})
    match = Match(steps=3)
    common = Common(
        training={"rank": 2, "alpha": 4, "learning_rate": 2e-2, "batch_size": 4},
        evaluation={"max_new_tokens": 6, "general": False, "bootstrap": 100},
    )
    Comparison(
        out=out,
        load=lambda: load_base(on_disk, device="cpu"),
        facts=FACTS,
        cells=cells_of(methods_of(["sft", f"mix={mixed}"]), [0, 1], match, common),
        match=match,
        on_phase=lambda _: silent,
        keep=True,
    ).run()
    return out


@pytest.fixture
def run_of(injected: Path, tmp_path: Path) -> Callable[..., Run]:
    """Makes a run of records that are written by hand; its other files are those of a whole run."""

    def make(records: list[dict[str, Any]], **settings: Any) -> Run:
        folder = tmp_path / "own"
        shutil.copytree(injected, folder)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "supervision.jsonl").write_text(lines)
        return find_runs([folder]).runs[0]

    return make


@pytest.fixture
def work(on_disk: OnDisk, tmp_path: Path) -> Callable[..., Work]:
    """Makes the work of analysing folders into a folder of the test."""

    def make(*folders: Path, load: Callable[[], Base] | None = None, **settings: Any) -> Work:
        return Work(
            found=find_runs(folders),
            out=tmp_path / "out",
            load=load or (lambda: load_base(on_disk, device="cpu")),
            settings=Settings(fisher_samples=1, fisher_tokens=6, **settings),
            on_phase=lambda _: silent,
        )

    return make
