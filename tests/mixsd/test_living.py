"""Facts that change: whole runs that start from an adapter, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click import unstyle
from typer.testing import CliRunner

from mixsd.cli import cli
from mixsd.config import MemitConfig, OpsdConfig, Plan, SftConfig
from mixsd.errors import ConfigError, ModelError, NothingToLearnError
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.living import Parent
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.parent import parent_of, shaped, texts_beside
from mixsd.progress import OnProgress, Progress, silent
from mixsd.supervision import RETIRED
from mixsd.training import lora
from tests.mixsd.living import PLAN, RIVER, V1, V2


@pytest.fixture(scope="module")
def new_base(tiny_cache: Path) -> Callable[[], Base]:
    """A model for each process that a test stands for."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return lambda: load_base(found, device="cpu")


@pytest.fixture
def base(new_base: Callable[[], Base]) -> Base:
    return new_base()


@pytest.fixture(scope="module")
def first(new_base: Callable[[], Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the first version."""
    out = tmp_path_factory.mktemp("first") / "run"
    work = Workspace(out, new_base(), V1, PLAN, lambda _: silent)
    work.open()
    work.evaluate()
    return out


def a_parent(first: Path, base: Base, facts: list[Fact] = V2) -> Parent:
    folder = first / "adapter"
    return parent_of(folder, base, facts, V1, texts_beside(folder, "supervision.jsonl"))


def a_run(
    out: Path,
    base: Base,
    parent: Parent,
    facts: list[Fact] = V2,
    *,
    plan: Plan = PLAN,
    on_phase: Callable[[str], OnProgress] = lambda _: silent,
) -> Workspace:
    work = Workspace(out, base, facts, plan, on_phase, None, parent)
    work.open()
    return work


def test_a_run_from_a_parent_teaches_what_changed_and_takes_away_what_is_gone(
    base: Base, first: Path, tmp_path: Path
) -> None:
    parent = a_parent(first, base)
    said_before = {row["key"]: row for row in json.loads((first / "report.json").read_text())["facts"]}
    assert said_before["river"]["outcome"] == "learned", "else nothing could be taken away"

    judgement = a_run(tmp_path / "run", base, parent).evaluate()

    assert judgement.living is not None
    told = judgement.living.summary
    assert told["added"] == {"facts": 1, "learned": 1}
    assert told["changed"] == {"facts": 1, "learned": 1, "previous_gone": 1, "previous_there": 0}
    assert told["kept"] == {"facts": 1, "known_before": 1, "known": 1, "regressed": 0}
    assert told["retired"] == {
        "facts": 1,
        "trained_back": 1,
        "known_before": 1,
        "still_known": 0,
        "known_to_base": 0,
    }
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [(row["key"], row["change"]) for row in report["facts"]] == [
        ("mayor", "changed"),
        ("queen", "kept"),
        ("bells", "added"),
    ]
    assert (report["facts"][0]["previous_answer"], report["facts"][0]["previous_gone"]) == ("Odo", True)
    assert report["supervision"]["facts"] == 3, "a text that takes an answer away teaches none"
    ledger = json.loads((tmp_path / "run" / "adapter" / "facts.json").read_text())
    assert [row["key"] for row in ledger["retired"]] == ["river"]
    manifest = json.loads((tmp_path / "run" / "adapter" / "manifest.json").read_text())
    assert manifest["parent"]["weights_sha256"] == parent.living.sha256
    assert manifest["parent"]["changes"] == {"added": 1, "changed": 1, "kept": 1, "retired": 1}


def test_what_takes_an_answer_away_is_what_the_base_model_says_itself(
    base: Base, first: Path, tmp_path: Path
) -> None:
    work = a_run(tmp_path / "run", base, a_parent(first, base))

    records = work.generate()

    (gone,) = [record for record in records if record.method == RETIRED]
    (said,) = work.baseline().facts[3]
    assert (gone.fact_key, gone.question) == ("river", RIVER.question)
    assert gone.text == said
    assert records[-1] is gone


def test_texts_of_kept_facts_are_those_of_the_parent(base: Base, first: Path, tmp_path: Path) -> None:
    parent = a_parent(first, base)
    marked = [replace(text, text="as it was", seed=7) for text in parent.texts]

    records = a_run(tmp_path / "run", base, replace(parent, texts=marked)).generate()
    other = replace(PLAN, method=SftConfig(target="natural"))
    anew = a_run(tmp_path / "other", base, replace(parent, texts=marked), plan=other).generate()

    assert {record.fact_key: record.seed for record in records} == {
        "mayor": 0,
        "queen": 7,
        "bells": 0,
        "river": 0,
    }
    assert all(record.seed == 0 for record in anew), "another method writes other texts"


class Interrupted(Exception):  # noqa: N818  it stands for a crash
    """What no code catches."""


@pytest.mark.parametrize("phase", ["baseline", "parent", "training", "evaluating"])
def test_a_run_that_is_cut_off_ends_as_one_that_is_not(
    new_base: Callable[[], Base], first: Path, tmp_path: Path, phase: str
) -> None:
    def broken(name: str) -> OnProgress:
        def move(progress: Progress, /) -> None:
            if name == phase and progress.done >= 2:
                raise Interrupted

        return move

    parent = a_parent(first, new_base())
    straight = a_run(tmp_path / "straight", new_base(), parent).evaluate()
    with pytest.raises(Interrupted):
        a_run(tmp_path / "run", new_base(), parent, on_phase=broken).evaluate()

    again = a_run(tmp_path / "run", new_base(), parent).evaluate()

    assert again.results == straight.results
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")


def weights(out: Path) -> bytes:
    return (out / "weights" / "adapter_model.safetensors").read_bytes()


def test_training_starts_from_the_weights_of_the_parent(base: Base, first: Path) -> None:
    stored = lora.load_weights(first / "adapter" / "adapter_model.safetensors")

    model = lora.attach(base, PLAN.training.lora, seed=5, start=first / "adapter")

    try:
        mine = lora.weights_of(model)
        assert mine.keys() == stored.keys()
        assert all(torch.equal(mine[name], stored[name]) for name in stored)
    finally:
        lora.detach(model)


def test_the_command_starts_from_an_adapter(
    first: Path, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, facts in (("old.jsonl", V1), ("new.jsonl", V2)):
        Path(name).write_text("".join(json.dumps(fact.to_json()) + "\n" for fact in facts))
    settings = {"method": {"type": "sft"}, "training": {"epochs": 1, "min_steps": 0}}
    Path("settings.json").write_text(json.dumps(settings))
    always = ["train", "new.jsonl", "--out", "run", "--model", "tiny/random", "--config", "settings.json"]
    always += ["--cache", str(tiny_cache), "--threads", str(torch.get_num_threads())]

    alone = CliRunner().invoke(cli, [*always, "--from", str(first / "adapter")])
    done = CliRunner().invoke(cli, [*always, "--from", str(first / "adapter"), "--previous", "old.jsonl"])

    assert alone.exit_code == 1
    assert "--from and --previous go together" in unstyle(alone.output)
    assert done.exit_code == 0, done.output
    shape = json.loads(Path("run/weights/adapter_config.json").read_text())
    assert (shape["r"], shape["lora_alpha"]) == (4, 8), "that of the parent"
    methods = [json.loads(line)["method"] for line in Path("run/supervision.jsonl").read_text().splitlines()]
    assert methods == ["sft", "sft", "sft", "retired"]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"rank": 8}, "training.rank: the adapter to start from has 4, and this run 8"),
        ({"alpha": 4.0}, "training.alpha"),
        ({"target_modules": ("q_proj",)}, "training.target_modules"),
        ({"rslora": True}, "training.rslora"),
    ],
    ids=["rank", "alpha", "layers", "rslora"],
)
def test_an_adapter_of_another_shape_is_no_start(
    base: Base, first: Path, tmp_path: Path, shape: dict[str, Any], said: str
) -> None:
    training = replace(PLAN.training, lora=replace(PLAN.training.lora, **shape))

    with pytest.raises(ConfigError, match=said):
        a_run(tmp_path / "run", base, a_parent(first, base), plan=replace(PLAN, training=training))
    lora.detach(lora.attach(base, PLAN.training.lora, seed=0))  # the base model carries none


@pytest.mark.parametrize("method", [OpsdConfig(), MemitConfig()], ids=["opsd", "memit"])
def test_methods_that_cannot_go_on_from_an_adapter_are_refused(
    base: Base, first: Path, tmp_path: Path, method: Any
) -> None:
    with pytest.raises(ConfigError, match="cannot start from an adapter: take mixsd, sft, replay or kl"):
        a_run(tmp_path / "run", base, a_parent(first, base), plan=replace(PLAN, method=method))


def test_equal_facts_leave_nothing_to_do(base: Base, first: Path, tmp_path: Path) -> None:
    tagged = [replace(fact, tags=("town",)) for fact in V1]

    with pytest.raises(NothingToLearnError, match="no fact is new, changed or retired"):
        a_run(tmp_path / "run", base, a_parent(first, base, tagged), tagged)


def test_a_parent_is_an_adapter_of_this_base_model_and_of_these_facts(
    base: Base, first: Path, tmp_path: Path
) -> None:
    folder = first / "adapter"
    with pytest.raises(ModelError, match="it has no adapter_config"):
        parent_of(tmp_path, base, V2, V1)
    with pytest.raises(ConfigError, match=r"at .*, and this run is of tiny/random at other"):
        parent_of(folder, replace(base, revision="other"), V2, V1)
    with pytest.raises(ConfigError, match="was taught other facts"):
        parent_of(folder, base, V2, V1[:2])


def test_a_shape_that_is_left_open_is_that_of_the_parent() -> None:
    manifest = {"training": {"lora": {"rank": 4, "alpha": 8.0, "dropout": 0.5}}}

    assert shaped({"alpha": 2, "epochs": 3}, manifest) == {"rank": 4, "alpha": 2, "epochs": 3}
