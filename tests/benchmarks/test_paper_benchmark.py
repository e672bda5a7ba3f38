"""The paper's table: studies are read or refused, made with the tiny model, resumed, and read."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.paper import figures
from benchmarks.paper.__main__ import main
from benchmarks.paper.corpora import digest_of, facts_of, reworded, spread
from benchmarks.paper.figures import BASE, Line, Table
from benchmarks.paper.page import markdown
from benchmarks.paper.signs import kept, signs
from benchmarks.paper.study import DEFAULT, CorpusPlan, Study, StudyError, read_study
from mixsd.corpora.kgfact import kgfact
from mixsd.errors import MixsdError
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.generation import Generation, Made
from mixsd.models.load import Base
from tests.fixtures.tiny import register_tiny

STUDY = """
model = "tiny/random"
seeds = [0, 1]
steps = 2
methods = ["sft", "always"]
batch_size = 2
max_new_tokens = 4

[training]
batch_size = 2

[plans.always.method]
type = "mixsd"
lam = 0.3
lam_backoff = []
max_attempts = 1
fallback_to_answer = true
rewordings = 0

[plans.always.training]
retention = { type = "none" }

[corpora.kgfact]
facts = 3

[suites]
paper_gsm8k = 2

[fisher]
samples = 1
tokens = 4
"""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A cache of base models that texts may be kept in."""
    register_tiny(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "gsm8k").mkdir(parents=True)
    rows = [json.dumps({"question": f"{n} and {n}?", "answer": f"Two.\n#### {2 * n}"}) for n in range(2)]
    (folder / "gsm8k" / "test.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def words(study_file: Path, models: Path, data: Path, tmp_path: Path) -> list[str]:
    places = {"study": study_file, "cache": models, "data-dir": data, "out": tmp_path / "out"}
    options = [f"--{name}={place}" for name, place in places.items()]
    return [*options, "--device", "cpu", "--threads", "1"]


def test_a_study_is_made_resumed_and_told(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    words.append("--jobs=1")
    assert main([*words, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed == json.loads((out / "paper.json").read_text())
    (table,) = printed["tables"]
    by_method = {line["method"]: line for line in table["lines"]}
    assert list(by_method) == [BASE, "sft", "always"]
    for column in ("recall", "paraphrase", "probe_reversed", "general", "drift", "paper_gsm8k", "ratio"):
        assert len(by_method["sft"]["values"][column]) == 2, column
        assert column in table["columns"]
    assert len(by_method[BASE]["values"]["general"]) == 1
    assert len(by_method["sft"]["values"]["target_nats"]) == 1
    assert sum(by_method["sft"]["mistakes"].values()) > 0
    page = (out / "paper.md").read_text()
    assert "| sft |" in page
    assert "kgfact, 3 facts" in page

    rows = out / "kgfact" / "seed-0" / "compare" / "compare.json"
    cells = {path: path.stat().st_mtime_ns for path in out.rglob("weights/*")}
    (out / "kgfact" / "seed-1" / "compare" / "compare.json").unlink()  # as if it had been stopped there
    before = rows.read_text()
    assert main(words) == 0
    assert rows.read_text() == before
    kept_cells = {path: path.stat().st_mtime_ns for path in cells}
    again = [path for path in cells if kept_cells[path] != cells[path]]
    assert {path.parts[len(out.parts) + 1] for path in again} == {"seed-1"}
    lines = json.loads((out / "paper.json").read_text())["tables"][0]["lines"]
    assert lines == table["lines"]  # the same figures, to the bit


def test_seeds_share_the_base_models_answers_and_values_of_lam_one_run_of_texts(
    words: list[str], study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = STUDY[STUDY.index("[plans.always.method]") : STUDY.index("[corpora.kgfact]")]
    other = plan.replace("always", "other").replace("lam = 0.3", "lam = 0.6")
    study_file.write_text(STUDY.replace(plan, plan + other).replace('"always"]', '"always", "other"]'))
    made: list[tuple[int, int]] = []
    asked: list[int] = []

    class Counting(Generation):
        def made(self, facts: Iterable[Fact]) -> Iterator[Made]:
            every = list(super().made(facts))
            made.append((len(self._variants), len(every)))
            return iter(every)

    def measured(base: Base, facts: Sequence[Fact], *rest: Any, **options: Any) -> Measured:
        asked.append(len(facts))
        return measure(base, facts, *rest, **options)

    monkeypatch.setattr("mixsd.mixing.Generation", Counting)
    monkeypatch.setattr("mixsd.compare.comparison.measure", measured)
    assert main([*words, "--jobs=1"]) == 0

    rows = [(1, 0), (1, 0)]  # they find all of theirs
    assert made == [(2, 6), *rows, (2, 6), *rows]
    assert asked == [3]
    first, second = (tmp_path / "out" / "kgfact" / f"seed-{seed}" / "compare" for seed in (0, 1))
    assert (first / "baseline.json").read_bytes() == (second / "baseline.json").read_bytes()


def test_a_failing_cell_is_told_and_the_others_stand(
    words: list[str], study_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study_file.write_text(
        STUDY.replace("fallback_to_answer = true", "fallback_to_answer = false").replace(
            "seeds = [0, 1]", "seeds = [0]"
        )
    )

    assert main([*words, "--jobs=1"]) == 1
    page = (tmp_path / "out" / "paper.md").read_text()
    assert "### Failed\n\n* always, seed 0: " in page
    assert "| sft |" in page
    assert "always, seed 0: failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 2", "", "'steps' is missing"),
        ("steps = 2", "steps = 0", "steps must be in"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "the seed 0 is given twice"),
        ('"always"]', '"nothing"]', "there is no method 'nothing'"),
        ("[corpora.kgfact]", "[corpora.other]", "corpora.other: expected one of kgfact, simpleqa"),
        ("facts = 3", "facts = 0", "corpora.kgfact.facts: expected 1 or more"),
        ("facts = 3", "facts = 101", "of 100 there are 100, and 101 are wanted"),
        ("facts = 3", "facts = 3\nmany = 1", "corpora.kgfact: there is no many"),
        ("facts = 3", 'facts = 3\nsize = "9x999"', "9x999 is no part of the world"),
        ("facts = 3", 'facts = 3\nparaphrases = "none.jsonl"', "none.jsonl cannot be read as other wordings"),
        ("paper_gsm8k = 2", "general = 2", "suites.general: expected items"),
        ("paper_gsm8k = 2", "arc_easy = 0", "suites.arc_easy: expected items"),
        ("samples = 1", "samples = 'x'", "invalid literal"),
        ("batch_size = 2\nmax", "batch = 2\nmax", "there is no batch; parts are"),
        ("lam = 0.3", "lam = 3", "lam must be in"),
        ("[fisher]", "[fisher", "cannot be read as TOML"),
        ("tiny/random", "../tiny", "[model_not_allowed]"),
    ],
)
def test_a_bad_study_is_refused_before_anything_is_made(
    words: list[str],
    study_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    old: str,
    new: str,
    said: str,
) -> None:
    assert old in STUDY
    study_file.write_text(STUDY.replace(old, new))

    assert main(words) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists()


def test_the_studies_that_come_along_can_be_read() -> None:
    for path in DEFAULT.parent.glob("*.toml"):
        study = read_study(path)
        assert [plan.name for plan in study.corpora] == ["kgfact", "simpleqa"]
        assert len(study.methods) == 6


def test_facts_are_spread_and_take_other_wordings(tmp_path: Path) -> None:
    facts = kgfact(5, 10).facts
    plan = CorpusPlan("kgfact", 40)

    found = facts_of(plan, None)
    assert found == spread(facts, plan)
    assert len({fact.key for fact in found}) == 40
    assert {fact.tags for fact in found} == {fact.tags for fact in facts}


def test_other_wordings_go_to_their_own_question_alone(tmp_path: Path) -> None:
    facts = kgfact(5, 10).facts[:3]
    wordings = tmp_path / "wordings.jsonl"
    rows = [{"question": digest_of(facts[n].question), "paraphrases": [f"Which of {n}?"]} for n in (2, 0)]
    wordings.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0] | {"question": "0" * 16}]))

    found = reworded(facts, wordings)
    assert [fact.key for fact in found] == [facts[2].key, facts[0].key]
    assert [fact.paraphrases for fact in found] == [("Which of 2?",), ("Which of 0?",)]

    plan = CorpusPlan("kgfact", 3, paraphrases=wordings)
    with pytest.raises(
        StudyError, match=r"of 100 there are [12] with other wordings in wordings.jsonl, and 3"
    ):
        facts_of(plan, None)
    for row in ('{"question": "x", "paraphrases": "Who?"}', '{"question": "x"}', "3", "{"):
        wordings.write_text(row + "\n")
        with pytest.raises(StudyError, match=r"wordings\.jsonl"):
            reworded(facts, wordings)


def test_simpleqa_comes_from_the_folder_of_data(tmp_path: Path) -> None:
    folder = tmp_path / "simpleqa"
    folder.mkdir()
    with pytest.raises(MixsdError, match=r"expected one \.jsonl file, found 0"):
        facts_of(CorpusPlan("simpleqa", 1), tmp_path)
    (folder / "rows.jsonl").write_text(json.dumps({"id": 1, "problem": "Who?", "answer": "Somebody"}) + "\n")
    assert [fact.answer for fact in facts_of(CorpusPlan("simpleqa", 1), tmp_path)] == ["Somebody"]
    with pytest.raises(StudyError, match="of 1 there are 1, and 2 are wanted"):
        facts_of(CorpusPlan("simpleqa", 2), tmp_path)


def line(method: str, **values: float) -> Line:
    mistakes = {kind: int(values.pop(kind, 0)) for kind in figures.KINDS}
    return Line(method, {name: [value] for name, value in values.items()}, mistakes)


def table(*lines: Line, correlations: tuple[dict[str, Any], ...] = ()) -> Table:
    columns = tuple(dict.fromkeys(name for each in lines for name in each.values))
    return Table("kgfact", 40, columns, lines, (), correlations, 1.0)


def test_directions_are_read_from_the_figures() -> None:
    def correlation(of: str, value: float | None) -> dict[str, Any]:
        told = {"value": value, "n": 4}
        return {"fisher": "sampled", "lost": "drift", "with": of, "pearson": told}

    found = table(
        line(BASE, recall=0.0, general=0.8, arc_easy=0.5),
        line("sft", recall=1.0, general=0.2, arc_easy=0.5, target_nats=4.0, leakage=9, genuine=1, ratio=2.0),
        line("mixsd-lam0", recall=1.0, general=0.4, arc_easy=0.5, target_nats=2.0),
        line("mixsd-lam0.3", recall=0.9, general=0.6, arc_easy=0.5, target_nats=1.5, leakage=1, genuine=1),
        line("mixsd-lam0.5", recall=0.9, general=0.7, arc_easy=0.5, target_nats=1.6),
        line("opsd-short", recall=0.1, general=0.8, arc_easy=0.5, ratio=1.0),
        correlations=(correlation("ratio", 0.8), correlation("squared_norm", 0.2)),
    )
    base, sft = found.lines[:2]

    assert kept(found, base) == 1
    assert kept(found, sft) == pytest.approx((0.25 + 1) / 2)
    agrees = {sign.paper: sign.agrees for sign in signs(found)}
    assert agrees["lam 0 keeps more than sft"] is True
    assert agrees["more is kept with more lam, from 0 over 0.3 to 0.5"] is True
    assert agrees["less is memorised with more lam, from 0 over 0.3 and 0.5 to 0.7"] is None  # no 0.7
    assert agrees["targets of lam 0 are likelier than those of sft"] is True
    assert agrees["sft leaks more than lam 0.3"] is True
    assert agrees["opsd changes weights along less sensitive directions than sft"] is True
    assert agrees["R goes with what is lost (drift) more than the plain norm does"] is True
    assert agrees["R goes with what is lost (general) more than the plain norm does"] is None
    turned = table(*(line(each.method, general=1 - (each.mean("general") or 0)) for each in found.lines))
    assert {sign.paper: sign.agrees for sign in signs(turned)}["lam 0 keeps more than sft"] is False


def test_a_page_shows_means_with_the_range_of_seeds() -> None:
    found = table(line(BASE, recall=0.0), Line("sft", {"recall": [0.5, 1.0]}, {"leakage": 1, "genuine": 3}))
    study = read_study(DEFAULT)

    page = markdown(study, [found])
    assert isinstance(study, Study)
    assert "| sft | 0.75 (0.50-1.00) | - |" in page
    assert "| sft | 4 | 75% | 25% | 0% | 0% |" in page


def test_it_ends_with_its_parts_when_it_is_stopped(
    words: list[str], study_file: Path, tmp_path: Path
) -> None:
    study_file.write_text(STUDY.replace("steps = 2", "steps = 100000"))
    work = tmp_path / "out" / "kgfact" / "seed-0" / "compare" / "work"
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.paper", *words], stderr=said)
        while not list(work.glob("*")) and process.poll() is None:
            time.sleep(0.1)
        assert process.poll() is None, (tmp_path / "said").read_text()[-2000:]
        process.terminate()
        assert process.wait(300) == 130
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed
    assert b"Traceback" not in (tmp_path / "said").read_bytes()
