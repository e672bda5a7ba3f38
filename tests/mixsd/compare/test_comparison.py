"""Rows on the tiny model: what they hold, and what a second run does."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mixsd.cache import FILE as TEXTS
from mixsd.cache import SupervisionCache
from mixsd.compare.comparison import BASELINE, FILE, cells_of
from mixsd.compare.in_context import shown
from mixsd.compare.methods import Common, Match, Method, methods_of
from mixsd.errors import ConfigError
from mixsd.facts import Fact, Probe
from mixsd.inject import Workspace
from mixsd.progress import OnProgress, Progress, silent
from mixsd.supervision import Supervision
from tests.mixsd.compare.conftest import (
    COMMON,
    FACTS,
    MIX,
    RECALL,
    STEPS,
    Killed,
    NewComparison,
    rows_in,
    timeless,
)


@pytest.fixture(scope="module")
def straight(new: NewComparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that nothing happened to."""
    out = tmp_path_factory.mktemp("straight")
    new(out).run()
    return out


def test_there_is_a_row_for_each_method_and_seed(straight: Path) -> None:
    rows = rows_in(straight)

    assert [(row["method"], row["seed"]) for row in rows] == [
        ("sft", 0),
        ("mix", 0),
        ("in_context", None),
        ("sft", 1),
        ("mix", 1),
    ]
    assert len({row["key"] for row in rows}) == 5
    for row in rows:
        assert row["counts"]["facts"] == sum(row["counts"].values()) - row["counts"]["facts"] == 3
        suites = {"recall", "recall_supervised", "paraphrase", "probe", "probe_other", "drift"}
        assert set(row["scores"]) == suites
        assert row["scores"]["drift"]["base"] == rows[0]["scores"]["drift"]["base"]
    trained = [row for row in rows if row["method"] != "in_context"]
    for row in trained:
        assert (row["steps"], row["supervised"], row["supervision"]["targets"]) == (6, 3, 3)
        assert row["reached"] is None
        assert row["seconds"].keys() == {"generating", "training", "evaluating"}
        assert row["plan"]["training"]["seed"] == row["plan"]["method"]["seed"] == row["seed"]
    assert trained[0]["supervision"]["nats_per_token"] > 1
    assert trained[0]["scores"]["recall"] != trained[2]["scores"]["recall"]  # another seed, another adapter


def test_a_row_says_what_a_run_of_the_same_plan_says(
    straight: Path, new: NewComparison, tmp_path: Path
) -> None:
    comparison = new(tmp_path)
    for cell in comparison.cells[:2]:
        workspace = Workspace(
            tmp_path / cell.method.name, comparison.load(), FACTS, cell.plan, lambda _: silent
        )
        workspace.open()
        judgement = workspace.evaluate()

        row = next(row for row in rows_in(straight) if row["method"] == cell.method.name)
        scores = {name: score for name, score in row["scores"].items() if name != "recall_supervised"}
        assert row["counts"] == judgement.counts
        assert scores == {score.suite: score.to_json() for score in judgement.scores}


def test_a_row_does_not_depend_on_those_before_it(straight: Path, new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path, methods=[MIX], seeds=[1]).run()

    alone = timeless(rows_in(tmp_path))
    assert alone == [row for row in timeless(rows_in(straight)) if (row["method"], row["seed"]) == ("mix", 1)]


def test_what_is_there_is_not_made_again(straight: Path, new: NewComparison) -> None:
    before = (straight / FILE).read_bytes()
    phases: list[str] = []

    def note(phase: str) -> OnProgress:
        phases.append(phase)
        return silent

    document = new(straight, on_phase=note, on_row=lambda row: phases.append(row["key"])).run()

    assert phases == []
    assert (straight / FILE).read_bytes() == before
    assert document == json.loads(before)
    assert not [*(straight / "work").iterdir()]


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_comparison_that_was_killed_keeps_its_rows_and_makes_the_others(
    straight: Path, new: NewComparison, tmp_path: Path, nth: int
) -> None:
    begun: list[str] = []

    def kill(phase: str) -> OnProgress:
        begun.append(phase)

        def stop(progress: Progress, /) -> None:
            if begun.count("training") == nth and progress.done == 4:
                raise Killed

        return stop

    with pytest.raises(Killed):
        new(tmp_path, on_phase=kill).run()
    kept = rows_in(tmp_path)
    made: list[Mapping[str, Any]] = []

    new(tmp_path, on_row=made.append).run()

    assert len(kept) == [0, 1, 3][nth - 1]
    assert len(made) == 5 - len(kept)
    assert rows_in(tmp_path)[: len(kept)] == kept  # the very same, times included
    assert timeless(rows_in(tmp_path)) == timeless(rows_in(straight))


def test_a_comparison_grows_by_methods_and_seeds(straight: Path, new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path, methods=["sft"], seeds=[1]).run()
    made: list[Mapping[str, Any]] = []

    new(tmp_path, on_row=made.append).run()

    assert [(row["method"], row["seed"]) for row in made] == [
        ("sft", 0),
        ("mix", 0),
        ("in_context", None),
        ("mix", 1),
    ]
    by_key = {row["key"]: row for row in timeless(rows_in(straight))}
    assert {row["key"]: row for row in timeless(rows_in(tmp_path))} == by_key


def test_a_row_takes_the_name_that_is_asked_for(straight: Path, new: NewComparison, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes((straight / FILE).read_bytes())
    made: list[Mapping[str, Any]] = []

    new(tmp_path, methods=[MIX.replace("mix=", "ours=")], on_row=made.append).run()

    assert made == []
    assert {row["method"] for row in rows_in(tmp_path)} == {"sft", "ours", "in_context"}


def test_rows_are_kept_if_that_is_asked_for(straight: Path, new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path, methods=["sft", "in_context"], seeds=[0], keep=True).run()

    sft, shown = rows_in(tmp_path)
    kept = tmp_path / "rows" / sft["key"]
    assert timeless([sft, shown]) == timeless([rows_in(straight)[0], rows_in(straight)[2]])
    assert not (tmp_path / "rows" / shown["key"]).exists()
    lines = (kept / "supervision.jsonl").read_text().splitlines()
    assert [Supervision.from_json(json.loads(line)).fact_key for line in lines] == [f.key for f in FACTS]
    assert {path.name for path in (kept / "weights").iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    assert not (straight / "rows").exists()


def test_rows_that_were_not_kept_are_made_again_to_be_kept(new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path, methods=["sft", "in_context"], seeds=[0]).run()
    before = timeless(rows_in(tmp_path))
    made: list[Mapping[str, Any]] = []

    for _ in range(2):
        new(tmp_path, methods=["sft", "in_context"], seeds=[0], keep=True, on_row=made.append).run()

    assert [row["method"] for row in made] == ["sft"]
    assert timeless(rows_in(tmp_path)) == before
    assert (tmp_path / "rows" / before[0]["key"] / "weights").is_dir()


LOST = 'lost={"method": {"type": "sft"}, "training": {"target_modules": ["nowhere"]}}'


def test_a_method_that_fails_has_a_row_that_says_why_and_is_tried_again(
    new: NewComparison, tmp_path: Path
) -> None:
    made: list[Mapping[str, Any]] = []

    for _ in range(2):
        new(tmp_path, methods=[LOST, "sft"], seeds=[0], on_row=made.append).run()

    lost, sft = rows_in(tmp_path)
    assert lost["error"]["code"] == "bad_setting"
    assert "nowhere" in lost["error"]["message"]
    assert "scores" not in lost
    assert sft["steps"] == 6
    assert [row["method"] for row in made] == ["lost", "sft", "lost"]


def test_more_steps_than_there_can_be_are_a_failure(new: NewComparison, tmp_path: Path) -> None:
    common = replace(COMMON, training={**COMMON.training, "rank": 1, "batch_size": 16})

    new(tmp_path, methods=["sft"], seeds=[0], match=Match(steps=1001), common=common).run()

    (row,) = rows_in(tmp_path)
    assert "steps 1001: so few texts end after 1000" in row["error"]["message"]


def test_rewordings_that_were_trained_on_are_asked(new: NewComparison, tmp_path: Path) -> None:
    worded = 'worded={"method": {"type": "sft", "rewordings": 2, "rewordings_source": "templates"}}'

    new(tmp_path, methods=["sft", worded], seeds=[0], match=replace(RECALL, recall=0.3)).run()

    plain, reworded = rows_in(tmp_path)
    assert plain["rewordings"] == {"trained": {"n": 0, "right": 0}}
    assert reworded["rewordings"]["trained"]["n"] == reworded["rewordings"]["by_templates"] == 6
    assert 0 < reworded["rewordings"]["trained"]["right"] <= 6
    assert reworded["supervision"]["targets"] == 9
    assert reworded["supervised"] == 3


def test_texts_of_earlier_runs_are_taken(new: NewComparison, tmp_path: Path) -> None:
    with SupervisionCache(tmp_path / TEXTS) as cache:
        new(tmp_path / "first", methods=[MIX], seeds=[0], cache=cache).run()
        said: list[str] = []

        class Listening(SupervisionCache):
            def get_many(self, keys: Any) -> dict[str, Supervision]:
                found = super().get_many(keys)
                said.extend(found)
                return found

        with Listening(tmp_path / TEXTS) as again:
            new(tmp_path / "second", methods=[MIX], seeds=[0], cache=again).run()

    assert len(said) == 3
    assert timeless(rows_in(tmp_path / "first")) == timeless(rows_in(tmp_path / "second"))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"facts": FACTS[:2]}, "facts"),
        ({"match": replace(STEPS, steps=7)}, "match"),
        ({"common": replace(COMMON, evaluation={**COMMON.evaluation, "max_new_tokens": 5})}, "evaluation"),
    ],
)
def test_a_folder_belongs_to_one_comparison(
    straight: Path, new: NewComparison, changes: dict[str, Any], part: str
) -> None:
    before = (straight / FILE).read_bytes()

    with pytest.raises(ConfigError, match=f"holds a comparison with another {part}: choose another --out"):
        new(straight, **changes).run()

    assert (straight / FILE).read_bytes() == before


def test_a_folder_belongs_to_one_base_model(straight: Path, new: NewComparison) -> None:
    comparison = new(straight)
    other = replace(comparison.load(), revision="r2")

    with pytest.raises(ConfigError, match="another base_model"):
        replace(comparison, load=lambda: other).run()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', '{"version": 2, "comparison": {}, "rows": []}']
)
def test_a_file_that_is_no_comparison_is_left_alone(new: NewComparison, tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(ConfigError, match="choose another --out"):
        new(tmp_path).run()

    assert (tmp_path / FILE).read_text() == text


def test_two_comparisons_do_not_write_into_one_folder(new: NewComparison, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(ConfigError, match="in use by another comparison"):
        new(tmp_path).run()


def test_a_baseline_that_cannot_be_read_is_measured_again(
    straight: Path, new: NewComparison, tmp_path: Path
) -> None:
    (tmp_path / BASELINE).write_text('{"input_sha256": 1')

    new(tmp_path, methods=["sft"], seeds=[0]).run()

    assert (tmp_path / BASELINE).read_bytes() == (straight / BASELINE).read_bytes()


@pytest.mark.parametrize(
    ("methods", "seeds", "message"),
    [
        (["sft"], [0, 1, 0], "the seed 0 is given twice"),
        (["sft"], [], "at least one method and one seed"),
        ([], [0], "at least one method and one seed"),
        (["sft", 'again={"method": {"type": "sft"}}'], [0], "sft and again are one method"),
        (["sft"], [-1], "seed must be in"),
    ],
)
def test_what_would_count_for_two_is_refused(methods: list[str], seeds: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells_of(methods_of(methods), seeds, STEPS, COMMON)


def test_a_model_in_context_is_asked_the_expert_prompts() -> None:
    fact = Fact(
        "a",
        "Who?",
        "Odo",
        paraphrases=("Which one?",),
        probes=(Probe("Where?", "Ebra"),),
        context="Odo it is.",
    )

    told = shown(fact)

    questions = [told.question, *told.paraphrases, told.probes[0].question]
    for asked, before in zip(questions, ["Who?", "Which one?", "Where?"], strict=True):
        assert asked.startswith(f"{before}\n\n")
        assert "It says: Odo it is." in asked
    assert (told.key, told.answer, told.probes[0].answer) == ("a", "Odo", "Ebra")


def test_a_model_in_context_stays_itself_elsewhere(straight: Path) -> None:
    row = rows_in(straight)[2]

    assert row["scores"]["drift"]["difference"] == 0.0
    assert row["plan"] == {"method": {"type": "in_context"}}
    assert (row["steps"], row["supervised"]) == (None, 3)


def test_a_method_has_one_row_in_context_whatever_the_seeds() -> None:
    cells = cells_of([Method("in_context", {"type": "in_context"})], [3, 4], STEPS, Common())

    assert [cell.seed for cell in cells] == [None]
