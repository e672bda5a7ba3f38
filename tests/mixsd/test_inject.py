"""Runs in a folder: complete, stopped and resumed, and refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from mixsd.config import EvalConfig, GateConfig, LoraConfig, MixConfig, Plan, TrainConfig
from mixsd.errors import ConfigError
from mixsd.evaluation.asking import ask
from mixsd.evaluation.measure import Measured
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.packaging import MANIFEST, WEIGHTS
from mixsd.progress import OnProgress, Progress, StopRequested, silent
from mixsd.supervision import Supervision

PLAN = Plan(
    method=MixConfig(
        rewordings=0,
        max_attempts=3,
        max_new_tokens=8,
        fallback_to_answer=True,
        batch_facts=2,
        temperature=1.0,
    ),
    training=TrainConfig(
        lora=LoraConfig(rank=4, alpha=8), learning_rate=2e-2, epochs=6, min_steps=0, batch_size=2
    ),
    evaluation=EvalConfig(max_new_tokens=8, general=False, bootstrap=100, batch_size=100),
)
FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo", paraphrases=("The mayor is who?",)),
    Fact("river", "Which river is it?", "日本 🎈"),
    Fact("queen", "Who is the queen?", "Adesta"),
    Fact("long", "\u0001" * 600, "Odo"),
]

NewRun = Callable[..., Workspace]


class Interrupted(Exception):  # noqa: N818  it stands for a crash
    """What no code catches."""


@pytest.fixture(scope="module")
def new_run(tiny_cache: Path) -> NewRun:
    """Runs with a model of their own, as a new process has."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None

    def make(
        out: Path, plan: Plan = PLAN, on_phase: Callable[[str], OnProgress] = lambda _: silent
    ) -> Workspace:
        run = Workspace(out, load_base(found, device="cpu"), FACTS, plan, on_phase)
        run.open()
        return run

    return make


@pytest.fixture(scope="module")
def straight(new_run: NewRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("straight") / "deep" / "run"
    new_run(out).evaluate()
    return out


def result_of(out: Path) -> list[bytes]:
    names = ("supervision.jsonl", f"weights/{WEIGHTS}", f"adapter/{WEIGHTS}", "report.json", "baseline.json")
    return [(out / name).read_bytes() for name in names]


def stop_in(phase: str, call: int, error: type[Exception]) -> Callable[[str], OnProgress]:
    calls: list[Progress] = []

    def on_phase(name: str) -> OnProgress:
        def move(progress: Progress, /) -> None:
            calls.append(progress)
            if len(calls) == call:
                raise error

        return move if name == phase else silent

    return on_phase


def test_a_run_leaves_supervision_adapter_and_report(straight: Path) -> None:
    report = json.loads((straight / "report.json").read_text())
    records = [
        Supervision.from_json(json.loads(line))
        for line in (straight / "supervision.jsonl").read_bytes().splitlines()
    ]

    assert [record.fact_key for record in records] == [fact.key for fact in FACTS]
    assert report["counts"]["facts"] == 4 == sum(report["counts"].values()) - 4
    assert report["counts"]["skipped"] == 1
    assert [fact["key"] for fact in report["facts"]] == [fact.key for fact in FACTS]
    assert [(score["suite"], score["n"]) for score in report["scores"]] == [
        ("recall", 3),
        ("paraphrase", 1),
        ("drift", 24),
    ]
    assert [found["suite"] for found in report["mistakes"]] == ["recall", "paraphrase"]
    assert {fact["scored_by"] for fact in report["facts"]} == {"contains"}
    assert report["general"] == []
    assert report["supervision"]["verified"] == 3
    assert report["training"]["steps"] > 0
    assert report["training"]["last_loss"] < report["training"]["first_loss"]
    manifest = json.loads((straight / "adapter" / MANIFEST).read_text())
    assert manifest["method"]["lam"] == 0.3
    assert {path.name for path in straight.iterdir()} == {
        "settings.json",
        "supervision.jsonl",
        "baseline.json",
        "generation.json",
        "checkpoints",
        "training.json",
        "weights",
        "adapter",
        "report.json",
    }


def test_it_learned_what_the_report_says_and_peft_alone_sees_the_same(straight: Path, base: Base) -> None:
    fresh = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(fresh, str(straight / "adapter"))
    model.eval()
    facts = json.loads((straight / "report.json").read_text())["facts"]
    asked = [question for fact in facts for question in fact["asked"]]

    answers = ask(
        model,
        base.chat,
        [question["question"] for question in asked],
        max_new_tokens=8,
        batch_size=1,
        max_tokens=base.max_tokens,
        on_step=lambda _: None,
    )

    said = [answer.text if answer else None for answer in answers]
    assert said == [question["adapter_answer"] for question in asked]
    assert said != [question["base_answer"] for question in asked]
    assert "learned" in {fact["outcome"] for fact in facts}


@pytest.mark.parametrize(
    ("phase", "call", "error"),
    [
        ("baseline", 3, Interrupted),
        ("generating", 1, Interrupted),
        ("generating", 12, Interrupted),
        ("generating", 12, StopRequested),
        ("training", 1, StopRequested),
        ("training", 4, StopRequested),
        ("training", 4, Interrupted),
        ("evaluating", 2, Interrupted),
    ],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    new_run: NewRun, straight: Path, tmp_path: Path, phase: str, call: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        new_run(tmp_path, on_phase=stop_in(phase, call, error)).evaluate()
    assert not (tmp_path / "report.json").exists()

    new_run(tmp_path).evaluate()

    assert result_of(tmp_path) == result_of(straight)


def test_training_goes_on_from_the_step_where_it_was_stopped(new_run: NewRun, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        new_run(tmp_path, on_phase=stop_in("training", 4, StopRequested)).train()  # the first is of step 0
    seen: list[int] = []

    new_run(tmp_path, on_phase=lambda _: lambda progress: seen.append(progress.done)).train()

    assert seen[0] == 3


def test_what_is_done_is_not_done_again(new_run: NewRun, straight: Path) -> None:
    phases: list[str] = []
    before = result_of(straight)

    def note(phase: str) -> OnProgress:
        phases.append(phase)
        return silent

    run = new_run(straight, on_phase=note)
    run.baseline()
    run.generate()
    run.train()
    assert phases == []

    run.evaluate()

    assert phases == ["evaluating"]
    assert result_of(straight) == before


@pytest.mark.parametrize("cut", [1, 40, -1, -3])
def test_a_last_line_that_a_crash_cut_off_is_made_again(
    new_run: NewRun, straight: Path, tmp_path: Path, cut: int
) -> None:
    """A cut may fall into the middle of a character."""
    whole = (straight / "supervision.jsonl").read_bytes()
    first, second = whole.splitlines(keepends=True)[:2]
    multibyte = second.index("日".encode())
    end = multibyte + -cut if cut < 0 else cut
    new_run(tmp_path)
    (tmp_path / "supervision.partial.jsonl").write_bytes(first + second[:end])

    def stop(progress: Progress, /) -> None:
        if progress.done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        new_run(tmp_path, on_phase=lambda _: stop).generate()
    records = new_run(tmp_path).generate()

    assert len(records) == 4
    assert (tmp_path / "supervision.jsonl").read_bytes() == whole
    assert not (tmp_path / "supervision.partial.jsonl").exists()


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, method=MixConfig()),
        replace(PLAN, training=replace(PLAN.training, epochs=7)),
        replace(PLAN, evaluation=replace(PLAN.evaluation, confidence=0.9)),
    ],
)
def test_a_folder_belongs_to_one_run(new_run: NewRun, straight: Path, plan: Plan) -> None:
    with pytest.raises(ConfigError, match="choose another --out"):
        new_run(straight, plan)


def test_a_folder_is_that_of_a_run_however_many_processes_it_goes_on_with(straight: Path, base: Base) -> None:
    training = replace(PLAN.training, processes=2, micro_batch=2, shard="full")

    Workspace(straight, base, FACTS, replace(PLAN, training=training), lambda _: silent).open()


def test_a_folder_belongs_to_one_set_of_facts(straight: Path, base: Base) -> None:
    with pytest.raises(ConfigError, match="choose another --out"):
        Workspace(straight, base, FACTS[:2], PLAN, lambda _: silent).open()


def test_another_gate_is_no_other_run(straight: Path, new_run: NewRun) -> None:
    gate = GateConfig("recall", 0.5)

    again = new_run(straight, replace(PLAN, evaluation=replace(PLAN.evaluation, gate=gate)))

    assert again.baseline() == Measured.from_json(json.loads((straight / "baseline.json").read_text()))
